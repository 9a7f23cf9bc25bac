import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient
from pycocotools import mask as coco

from orchestrator.api.app import build
from orchestrator.bootstrap import Services
from tests.pictures import draw, encoded

PICTURE = encoded(draw(300, 400, seed=4))
FILE = {"image": ("drawn.png", PICTURE)}


def test_one_box_gives_one_mask_in_the_official_record(client: TestClient) -> None:
    answer = client.post("/segment/box", files=FILE, data={"boxes": "[[50,60,200,220]]"})
    assert answer.status_code == 200
    body = answer.json()
    assert body["image"] == {"id": None, "width": 400, "height": 300}
    assert body["model"]["name"] == "tiny"
    (mask,) = body["masks"]
    decoded = coco.decode(mask["segmentation"])
    assert decoded.shape == (300, 400)
    assert decoded.sum() == mask["area"]
    assert set(mask) == {
        "segmentation",
        "bbox",
        "area",
        "predicted_iou",
        "stability_score",
        "point_coords",
        "crop_box",
    }
    assert body["request_id"] == answer.headers["X-Request-ID"]
    assert {"read", "lookup", "prepare", "encode", "decode", "masks", "total", "cache"} == set(body["timings_ms"])


def test_many_boxes_are_answered_in_their_order(client: TestClient) -> None:
    boxes = [[50, 60, 200, 220], [10, 10, 60, 60], [200, 100, 390, 290]]
    together = client.post("/segment/box", files=FILE, data={"boxes": str(boxes)}).json()["masks"]
    for box, mask in zip(boxes, together, strict=True):
        (alone,) = client.post("/segment/box", files=FILE, data={"boxes": str([box])}).json()["masks"]
        assert alone["segmentation"] == mask["segmentation"]


def test_without_boxes_the_whole_picture_is_the_box(client: TestClient) -> None:
    default = client.post("/segment/box", files=FILE).json()["masks"]
    whole = client.post("/segment/box", files=FILE, data={"boxes": "[[0,0,400,300]]"}).json()["masks"]
    assert default == whole


def test_a_point_has_three_candidates_best_first(client: TestClient) -> None:
    masks = client.post("/segment/single", files=FILE, data={"points": "[[120,130]]"}).json()["masks"]
    scores = [mask["predicted_iou"] for mask in masks]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert masks[0]["point_coords"] == [[120, 130]]


def test_points_labels_and_a_box_go_together(client: TestClient) -> None:
    fields = {"points": "[[120,130],[300,40]]", "labels": "[1,0]", "box": "[50,60,200,220]", "multimask": "false"}
    masks = client.post("/segment/single", files=FILE, data=fields).json()["masks"]
    assert len(masks) == 1
    assert masks[0]["point_coords"] == [[120, 130], [300, 40]]


def test_an_overlay_is_a_picture_of_the_same_size(client: TestClient) -> None:
    answer = client.post("/segment/box", files=FILE, data={"boxes": "[[50,60,200,220]]", "output": "overlay"})
    assert answer.headers["content-type"] == "image/png"
    assert cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR).shape == (300, 400, 3)


def test_an_uploaded_image_is_prompted_by_its_id_until_it_is_deleted(client: TestClient) -> None:
    created = client.post("/images", files=FILE)
    assert created.status_code == 201
    image_id = created.json()["id"]
    assert created.json() == {"id": image_id, "width": 400, "height": 300, "bytes": len(PICTURE)}
    assert client.get(f"/images/{image_id}").json() == created.json()
    by_id = client.post("/segment/box", data={"image_id": image_id, "boxes": "[[50,60,200,220]]"}).json()
    by_file = client.post("/segment/box", files=FILE, data={"boxes": "[[50,60,200,220]]"}).json()
    assert by_id["image"]["id"] == image_id
    assert by_id["masks"] == by_file["masks"]
    assert client.delete(f"/images/{image_id}").status_code == 204
    assert client.get(f"/images/{image_id}").status_code == 404
    assert client.post("/segment/box", data={"image_id": image_id}).status_code == 404


@pytest.mark.parametrize("orientation", [3, 6])
def test_coordinates_are_of_the_upright_picture(client: TestClient, orientation: int) -> None:
    from PIL import Image as Pillow

    exif = Pillow.Exif()
    exif[0x0112] = orientation
    turned = encoded(draw(300, 400), "JPEG", exif=exif)
    body = client.post("/segment/box", files={"image": turned}).json()
    expected = (300, 400) if orientation == 6 else (400, 300)
    assert (body["image"]["width"], body["image"]["height"]) == expected


LOOSE = {"points_per_side": "6", "pred_iou_thresh": "0.2", "stability_score_thresh": "0.2", "min_mask_region_area": "0"}


def test_automatic_masks_are_official_records(client: TestClient) -> None:
    answer = client.post("/segment/auto", files=FILE, data=LOOSE)
    assert answer.status_code == 200, answer.text
    masks = answer.json()["masks"]
    assert masks
    for mask in masks:
        assert coco.decode(mask["segmentation"]).sum() == mask["area"]
        assert mask["predicted_iou"] > 0.2
        assert len(mask["point_coords"]) == 1


def test_automatic_masks_take_points_regions_and_limits_of_ones_own(client: TestClient) -> None:
    own = client.post("/segment/auto", files=FILE, data=LOOSE | {"points": "[[200,150]]"}).json()["masks"]
    assert all(mask["point_coords"] == [[200, 150]] for mask in own)
    best = client.post("/segment/auto", files=FILE, data=LOOSE | {"max_masks": "1"}).json()["masks"]
    assert len(best) == 1
    grid = {"point_grids": "[[[0.5,0.5]]]"}
    assert client.post("/segment/auto", files=FILE, data=LOOSE | grid).status_code == 400
    del (without := dict(LOOSE))["points_per_side"]
    gridded = client.post("/segment/auto", files=FILE, data=without | grid).json()["masks"]
    assert all(mask["point_coords"] == [[200, 150]] for mask in gridded)


def test_a_region_of_interest_is_a_box_or_a_mask(client: TestClient) -> None:
    region = np.zeros((300, 400), np.uint8, order="F")
    region[:, :200] = 1
    encoded_region = coco.encode(region)
    as_mask = json.dumps({"size": encoded_region["size"], "counts": encoded_region["counts"].decode()})
    as_runs = json.dumps({"size": [300, 400], "counts": [0, 200 * 300, 200 * 300]})
    answers = [
        client.post("/segment/auto", files=FILE, data=LOOSE | {"roi": roi}).json()["masks"]
        for roi in ("[0,0,200,300]", as_mask, as_runs)
    ]
    assert answers[0] == answers[1] == answers[2]
    assert all(mask["point_coords"][0][0] < 200 for mask in answers[0])


def test_automatic_masks_stop_at_their_deadline(services: Services) -> None:
    hurried = replace(services, settings=services.settings.model_copy(update={"request_timeout_seconds": 1e-6}))
    with TestClient(build(hurried)) as client:
        answer = client.post("/segment/auto", files=FILE, data=LOOSE)
    assert answer.status_code == 504
    assert "REQUEST_TIMEOUT_SECONDS" in answer.json()["detail"]
