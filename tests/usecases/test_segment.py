import numpy as np
import pytest

from orchestrator.domain import prompts
from orchestrator.domain.errors import InvalidPrompt
from orchestrator.domain.image import Image
from orchestrator.usecases.segment import Segment
from orchestrator.usecases.stopwatch import Stopwatch
from tests.fakes import FakeDecoder, FakeEncoder
from tests.pictures import draw

SIZE = (40, 60)
IMAGE = Image(draw(*SIZE))


def test_a_prompt_has_three_candidates_best_first(segment: Segment) -> None:
    answer = segment.single(IMAGE, prompts.from_points([[5, 6]], None, None, SIZE), "tiny", Stopwatch())
    assert [round(mask.predicted_iou, 1) for mask in answer.masks] == [0.8, 0.7, 0.6]
    assert answer.masks[0].point_coords == ((5.0, 6.0),)


def test_without_multimask_the_single_mask_answers(segment: Segment) -> None:
    prompt = prompts.from_points([[5, 6]], None, None, SIZE)
    answer = segment.single(IMAGE, prompt, "tiny", Stopwatch(), multimask=False)
    assert [round(mask.predicted_iou, 1) for mask in answer.masks] == [0.5]


def test_boxes_are_answered_in_their_order_in_batches_that_suit_the_machine(
    segment: Segment, decoder: FakeDecoder
) -> None:
    boxes = prompts.from_boxes([[index, 0, index + 5, 9] for index in range(8)], SIZE)
    answer = segment.boxes(IMAGE, boxes, "tiny", Stopwatch())
    assert len(answer.masks) == 8
    assert decoder.calls == [3, 3, 2]


def test_a_model_that_was_unloaded_meanwhile_is_loaded_again(segment: Segment, encoder: FakeEncoder) -> None:
    whole = prompts.whole_picture(SIZE)
    segment.boxes(IMAGE, whole, "tiny", Stopwatch())
    encoder.versions.clear()
    assert segment.boxes(Image(draw(*SIZE, seed=1)), whole, "tiny", Stopwatch()).masks
    assert encoder.loads == ["tiny", "tiny"]


def test_a_mask_prompt_of_another_size_is_refused(segment: Segment) -> None:
    prompt = prompts.from_points([[5, 6]], None, None, SIZE)
    with pytest.raises(InvalidPrompt, match="16×16"):
        segment.single(IMAGE, prompt, "tiny", Stopwatch(), mask_input=np.zeros((8, 8), np.float32))


def test_the_stages_of_the_work_are_timed(segment: Segment) -> None:
    watch = Stopwatch()
    segment.boxes(IMAGE, prompts.whole_picture(SIZE), "tiny", watch)
    assert set(watch.milliseconds()) == {"lookup", "prepare", "encode", "decode", "masks", "total", "cache"}
