"""What can be asked of a picture. A request and a job come here alike."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrator.domain.errors import InvalidPrompt
from orchestrator.domain.image import Image
from orchestrator.domain.job import Kind
from orchestrator.domain.task import AutoFields, BoxFields, ExtractFields, Task
from orchestrator.usecases import objects, results
from orchestrator.usecases.automatic import Automatic
from orchestrator.usecases.extract import Extract, Extraction
from orchestrator.usecases.ports.engines import Progress
from orchestrator.usecases.segment import Segment, Segmentation
from orchestrator.usecases.stopwatch import Stopwatch


@dataclass(frozen=True)
class Outcome:
    """What a job keeps: `files` (name, bytes), made as they are asked for, and figures for a batch's statistics."""

    files: Iterable[tuple[str, bytes]]
    summary: Mapping[str, float]


class Operations:
    def __init__(self, segment: Segment, automatic: Automatic, extract: Extract) -> None:
        self._segment = segment
        self._automatic = automatic
        self._extract = extract

    def segment(self, task: Task, image: Image, watch: Stopwatch, progress: Progress) -> Segmentation:
        """`box` and `auto`. Raises what those use cases raise, and whatever `progress` raises."""
        size = (image.height, image.width)
        if task.operation is Kind.box:
            prompts = BoxFields(**task.fields).prompts(size)
            keep_logits = task.output == "rgba"  # soft edges are made of them
            return self._segment.boxes(image, prompts, task.model, watch, progress, keep_logits=keep_logits)
        if task.operation is Kind.auto:
            options = AutoFields(**task.fields).options(size)
            return self._automatic.generate(image, options, task.model, watch, progress)
        raise InvalidPrompt(f"The operation {task.operation} makes no masks.")

    def extract(self, task: Task, image: Image, watch: Stopwatch, progress: Progress) -> Extraction:
        """`extract`. Raises what that use case raises, and whatever `progress` raises."""
        asked = ExtractFields(**task.fields)
        prompts = asked.asked((image.height, image.width))
        return self._extract.extract(image, prompts, asked.how(), task.model, watch, progress)

    def perform(self, task: Task, image: Image, watch: Stopwatch, progress: Progress) -> Outcome:
        """The same, to be kept."""
        if task.operation is Kind.extract:
            extraction = self.extract(task, image, watch, progress)
            kept = objects.stored(extraction, watch)
            return Outcome(objects.files(extraction, kept), {"objects": len(kept.objects)})
        answer = self.segment(task, image, watch, progress)
        return Outcome(results.files(answer, image, watch), {"masks": len(answer.masks)})
