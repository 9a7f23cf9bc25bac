import json
from dataclasses import asdict

from orchestrator.domain import rle
from orchestrator.domain.job import Kind
from orchestrator.domain.masks import Mask
from orchestrator.domain.task import ExtractFields, Task
from orchestrator.usecases import objects
from orchestrator.usecases.extract import ExtractedObject, Extraction
from orchestrator.usecases.stopwatch import Stopwatch
from tests.fakes import MANIFEST

MASK = Mask(rle.Rle((4, 5), "d0"), (1, 1, 2, 2), 4, 0.9, 0.8, ((1.0, 2.0),), (0, 0, 5, 4))
EXTRACTION = Extraction((4, 5), MANIFEST, (ExtractedObject(MASK, (-1, 0, 7, 4), b"png 0"),))


def test_an_extraction_comes_back_from_its_files() -> None:
    kept = objects.stored(EXTRACTION, Stopwatch())
    written = dict(objects.files(EXTRACTION, kept))
    assert list(written) == ["object_0.png", "result.json"]
    assert written["object_0.png"] == b"png 0"
    found = objects.read(written["result.json"])
    assert found == kept
    assert found.objects == (objects.StoredObject("object_0.png", (-1, 0, 7, 4), MASK),)
    assert (found.size, found.model) == (EXTRACTION.size, EXTRACTION.model)


def test_what_is_asked_of_an_extraction_is_plain_json() -> None:
    fields = ExtractFields(boxes=[[1, 1, 3, 3]], cutout={"background": "white"})
    task = Task(Kind.extract, asdict(fields), "tiny")
    again = Task.from_json(json.loads(json.dumps(task.as_json())))
    assert json.dumps(asdict(ExtractFields(**again.fields))) == json.dumps(asdict(fields))
    again.check((10, 10))
