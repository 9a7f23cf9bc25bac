"""Cut-outs over HTTP, on the real model: their form, not their quality."""

import io
import json
import zipfile

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image as Pillow
from PIL import ImageCms

from tests.api.test_errors import shape
from tests.pictures import draw, encoded, saved

FILE = {"image": ("drawn.png", encoded(draw(300, 400, seed=4)))}
BOXES = {"boxes": "[[50,60,200,220],[10,10,60,60]]", "min_area": "0"}
AUTO = {"points_per_side": "6", "pred_iou_thresh": "0.2", "stability_score_thresh": "0.2", "min_mask_region_area": "0"}
EXTRACT = "/segment/objects/extract"


def opened(png: bytes) -> Pillow.Image:
    return Pillow.open(io.BytesIO(png))


def test_objects_are_kept_as_a_job_and_named_largest_first(client: TestClient) -> None:
    answer = client.post(EXTRACT, files=FILE, data=BOXES)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {"image", "model", "objects", "job_id", "timings_ms", "request_id"}
    areas = [each["mask"]["area"] for each in body["objects"]]
    assert areas == sorted(areas, reverse=True)
    assert [each["file"] for each in body["objects"]] == ["object_0.png", "object_1.png"]
    assert all(each["url"] == f"/jobs/{body['job_id']}/files/{each['file']}" for each in body["objects"])


def test_a_zip_holds_the_pictures_and_what_is_known_of_them(client: TestClient) -> None:
    answer = client.post(EXTRACT, files=FILE, data=BOXES | {"output": "zip"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        found = json.loads(archive.read("result.json"))["objects"]
        for each in found:
            x, y, wide, high = each["box"]
            assert opened(archive.read(each["file"])).size == (wide, high)
            assert 0 <= x < x + wide <= 400
            assert 0 <= y < y + high <= 300


@pytest.mark.parametrize(
    "prompt", [{"points": "[[120,130]]"}, {"box": "[50,60,200,220]"}, {"boxes": "[[50,60,90,99]]"}]
)
def test_one_object_is_a_png(client: TestClient, prompt: dict[str, str]) -> None:
    answer = client.post(EXTRACT, files=FILE, data=prompt | {"min_area": "0"}, headers={"Accept": "image/png"})
    assert answer.headers["content-type"] == "image/png"
    assert opened(answer.content).mode == "RGBA"


def test_many_objects_are_no_png(client: TestClient) -> None:
    answer = client.post(EXTRACT, files=FILE, data=BOXES | {"output": "png"})
    assert (answer.status_code, shape(answer)) == (400, "invalid_prompt")
    assert "2 objects" in answer.json()["detail"]


def test_without_prompts_a_grid_finds_the_objects_crops_included(client: TestClient) -> None:
    fields = AUTO | {"crop_n_layers": "1", "crop": "full", "output": "zip", "min_area": "50"}
    answer = client.post(EXTRACT, files=FILE, data=fields)
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        found = json.loads(archive.read("result.json"))["objects"]
        assert found
        for each in found:
            alpha = np.asarray(opened(archive.read(each["file"])))[:, :, 3]
            assert alpha.shape == (300, 400)
            # What was looked at again for its edges is the object that was found.
            area = each["mask"]["area"]
            assert abs(np.count_nonzero(alpha >= 128) - area) < 0.5 * area + 200


def test_size_padding_and_ground_are_as_asked(client: TestClient) -> None:
    one = {"boxes": "[[50,60,200,220]]", "output": "png", "min_area": "0", "edges": "hard"}
    tight = opened(client.post(EXTRACT, files=FILE, data=one).content)
    padded = opened(client.post(EXTRACT, files=FILE, data=one | {"padding": "9"}).content)
    whole = opened(client.post(EXTRACT, files=FILE, data=one | {"crop": "full", "background": "white"}).content)
    assert set(np.unique(np.asarray(tight)[:, :, 3])) <= {0, 255}
    assert padded.size == (tight.width + 18, tight.height + 18)
    assert (whole.size, whole.mode) == ((400, 300), "RGB")


def test_what_is_too_small_goes_and_the_largest_are_kept(client: TestClient) -> None:
    assert client.post(EXTRACT, files=FILE, data=BOXES | {"min_area": "1000000"}).json()["objects"] == []
    assert len(client.post(EXTRACT, files=FILE, data=BOXES | {"max_objects": "1"}).json()["objects"]) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"edges": "sharp"},
        {"feather": "0"},
        {"padding": "-1"},
        {"background": "#12"},
        {"boxes": "[[1,1,9,9]]", "points": "[[1,1]]"},
        {"boxes": "[[900,900,950,950]]"},
    ],
)
def test_what_makes_no_sense_is_refused(client: TestClient, wrong: dict[str, str]) -> None:
    answer = client.post(EXTRACT, files=FILE, data=wrong)
    assert (answer.status_code, shape(answer)) == (400, "invalid_prompt")


def test_a_profile_goes_along_and_other_metadata_does_not(client: TestClient) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Pillow.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[2] = (52.0, 30.0, 0.0)  # latitude
    exif[0x010F] = "a camera"
    data = saved(Pillow.fromarray(draw(300, 400)), "JPEG", exif=exif, icc_profile=profile, comment=b"at home")
    fields = {"boxes": "[[20,20,200,300]]", "min_area": "0", "output": "png", "crop": "full"}
    png = client.post(EXTRACT, files={"image": data}, data=fields).content
    cutout = opened(png)
    assert cutout.size == (300, 400)  # upright
    assert cutout.info == {"icc_profile": profile}
    assert not cutout.getexif()
    assert b"camera" not in png
