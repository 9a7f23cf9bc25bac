"""Every form of an answer, read by somebody else's code."""

import io
import json
import zipfile
from typing import Any

import httpx2
import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image as Pillow
from pycocotools import mask as coco
from pycocotools.coco import COCO

from tests.api.test_errors import shape
from tests.pictures import draw, encoded

PICTURE = encoded(draw(300, 400, seed=4))
FILE = {"image": ("photos/drawn.png", PICTURE)}
AUTO = {"points_per_side": "6", "pred_iou_thresh": "0.2", "stability_score_thresh": "0.2", "min_mask_region_area": "0"}
ROUTES: dict[str, dict[str, str]] = {
    "/segment/single": {"points": "[[120,130]]"},
    "/segment/box": {"boxes": "[[50,60,200,220],[200,60,380,280]]"},
    "/segment/auto": AUTO,
}
EVERYWHERE = pytest.mark.parametrize("route", ROUTES)
Bits = NDArray[np.bool_]


def ask(client: TestClient, route: str, **fields: str) -> httpx2.Response:
    answer = client.post(route, files=FILE, data=ROUTES[route] | fields)
    assert answer.status_code == 200, answer.text
    return answer


def masks(client: TestClient, route: str) -> list[Bits]:
    records = ask(client, route).json()["masks"]
    assert records
    return [coco.decode(record["segmentation"]).astype(np.bool_) for record in records]


@EVERYWHERE
@pytest.mark.parametrize("tolerance", [{}, {"tolerance": "0"}])
def test_polygons_are_their_masks_again(client: TestClient, route: str, tolerance: dict[str, str]) -> None:
    records = ask(client, route, output="polygon", **tolerance).json()["masks"]
    for record, mask in zip(records, masks(client, route), strict=True):
        assert record["segmentation"]["type"] == "MultiPolygon"
        drawn = np.zeros((300, 400), np.bool_)
        for outline, *holes in record["segmentation"]["coordinates"]:
            assert outline[0] == outline[-1]
            part = rasterised(outline)
            for hole in holes:
                part &= ~rasterised(hole)
            drawn |= part
        assert np.count_nonzero(drawn & mask) >= 0.98 * np.count_nonzero(drawn | mask)


def rasterised(ring: list[list[float]]) -> Bits:
    flat = np.array(ring[:-1], float).ravel().tolist()
    return np.asarray(coco.decode(coco.merge(coco.frPyObjects([flat], 300, 400))), np.bool_)


@EVERYWHERE
def test_a_coco_document_is_loaded_by_pycocotools(client: TestClient, route: str) -> None:
    dataset = COCO()
    dataset.dataset = ask(client, route, output="coco").json()
    dataset.createIndex()
    assert [image["file_name"] for image in dataset.imgs.values()] == ["drawn.png"]
    for annotation, mask in zip(dataset.anns.values(), masks(client, route), strict=True):
        assert np.array_equal(dataset.annToMask(annotation), mask)


@EVERYWHERE
def test_a_label_map_agrees_with_the_masks(client: TestClient, route: str) -> None:
    labels = np.asarray(Pillow.open(io.BytesIO(ask(client, route, output="label_map").content)))
    found = masks(client, route)
    expected = np.zeros((300, 400), np.int64)
    for index in sorted(range(len(found)), key=lambda index: -np.count_nonzero(found[index])):
        expected[found[index]] = index + 1
    assert np.array_equal(labels, expected)


@EVERYWHERE
def test_an_overlay_is_a_picture_of_the_same_size(client: TestClient, route: str) -> None:
    answer = ask(client, route, output="overlay")
    assert answer.headers["content-type"] == "image/png"
    assert Pillow.open(io.BytesIO(answer.content)).size == (400, 300)


@EVERYWHERE
def test_a_zip_of_masks_has_each_and_the_answer(client: TestClient, route: str) -> None:
    found = masks(client, route)
    with zipfile.ZipFile(io.BytesIO(ask(client, route, output="png").content)) as archive:
        assert len(json.loads(archive.read("masks.json"))["masks"]) == len(found)
        for index, mask in enumerate(found):
            read = np.asarray(Pillow.open(io.BytesIO(archive.read(f"mask_{index}.png"))))
            assert np.array_equal(read == 255, mask)
            assert set(np.unique(read)) <= {0, 255}


@EVERYWHERE
def test_a_zip_of_cut_outs_has_each_mask_with_soft_edges(client: TestClient, route: str) -> None:
    found, soft = masks(client, route), 0
    with zipfile.ZipFile(io.BytesIO(ask(client, route, output="rgba").content)) as archive:
        assert len(archive.namelist()) == len(found) + 1
        for index in range(len(found)):
            read = Pillow.open(io.BytesIO(archive.read(f"object_{index}.png")))
            assert read.mode == "RGBA"
            alpha = np.asarray(read)[:, :, 3]
            soft += int(np.count_nonzero((alpha > 0) & (alpha < 255)))
    assert soft


@EVERYWHERE
def test_arrays_are_read_by_numpy(client: TestClient, route: str) -> None:
    answer = ask(client, route, output="npz")
    assert answer.headers["content-type"] == "application/x-npz"
    arrays = np.load(io.BytesIO(answer.content), allow_pickle=False)["masks"]
    assert np.array_equal(arrays, np.stack(masks(client, route)))


@EVERYWHERE
def test_lines_have_each_mask_and_end_with_the_rest(client: TestClient, route: str) -> None:
    answer = client.post(route, files=FILE, data=ROUTES[route], headers={"Accept": "application/x-ndjson"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    found = [line["mask"]["segmentation"] for line in lines if "mask" in line]
    assert found == [record["segmentation"] for record in ask(client, route).json()["masks"]]
    assert set(lines[-1]) == {"image", "model", "timings_ms", "request_id"}
    shares = [line["progress"] for line in lines if "progress" in line]
    assert shares == sorted(shares)
    if route == "/segment/auto":
        assert shares


@pytest.mark.parametrize(
    ("fields", "accept", "kind"),
    [
        ({}, "*/*", "application/json"),
        ({}, "image/png", "image/png"),
        ({}, "text/html, application/xhtml+xml, */*;q=0.8", "application/json"),
        ({}, "application/json;q=0.1, application/zip", "application/zip"),
        ({}, "image/*", "image/png"),
        ({"output": "label_map"}, "image/png", "image/png"),
        ({"output": "overlay"}, "*/*", "image/png"),
        ({"output": "coco"}, "application/*", "application/json"),
    ],
)
def test_accept_and_output_say_the_form(client: TestClient, fields: dict[str, str], accept: str, kind: str) -> None:
    answer = client.post("/segment/box", files=FILE, data=fields, headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind


@pytest.mark.parametrize(
    ("route", "fields", "accept"),
    [
        ("/segment/box", {"output": "overlay"}, "application/json"),
        ("/segment/box", {}, "text/html"),
        ("/segment/box", {}, "application/json;q=0"),
        ("/segment/auto", {"output": "rle"}, "application/x-ndjson"),
        ("/segment/objects/extract", {"output": "zip"}, "image/png"),
    ],
)
def test_where_they_disagree_nothing_is_done(
    client: TestClient, route: str, fields: dict[str, str], accept: str
) -> None:
    answer = client.post(route, files=FILE, data=fields, headers={"Accept": accept})
    assert (answer.status_code, shape(answer)) == (406, "not_acceptable")


def test_a_stream_that_cannot_begin_is_an_error_like_any_other(client: TestClient) -> None:
    lines = {"Accept": "application/x-ndjson"}
    for wrong in ({"points_per_side": "0"}, {"model": "sam9"}):
        answer = client.post("/segment/auto", files=FILE, data=AUTO | wrong, headers=lines)
        assert answer.status_code in (400, 404)
        shape(answer)


def test_a_stream_that_fails_later_ends_in_the_error(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.domain.errors import Unavailable
    from orchestrator.usecases.automatic import Automatic

    def fail(*given: Any) -> None:
        given[-1](0.5)
        raise Unavailable("the decoder has gone")

    monkeypatch.setattr(Automatic, "generate", fail)
    answer = client.post("/segment/auto", files=FILE, data=AUTO | {"output": "ndjson"})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines[0] == {"progress": 0.5}
    assert lines[-1]["error"] == "unavailable"
