"""Every worked example of docs/recipes.md is run as it stands."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from pycocotools.coco import COCO

from tests.pictures import Pixels, draw, encoded

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "orchestrator/local/sample.jpg"
SECTIONS = re.split(r"^## ", (ROOT / "docs/recipes.md").read_text(), flags=re.MULTILINE)[1:]
TITLES = [section.partition("\n")[0] for section in SECTIONS]


def product(seed: int) -> Pixels:
    """Something in the middle of a plain ground, which any model finds."""
    picture = np.full((200, 260, 3), 225, np.uint8)
    return np.asarray(cv2.ellipse(picture, (130, 100), (70, 50), 20 * seed, 0, 360, (150, 40, 30), -1, cv2.LINE_AA))


@pytest.fixture
def done(request: pytest.FixtureRequest, plain_environment: dict[str, str], tmp_path: Path, api: str) -> Path:
    """The folder in which the recipe of that title was followed."""
    for folder, picture in (("photos", lambda seed: draw(200, 260, seed=seed)), ("catalogue", product)):
        (tmp_path / folder).mkdir()
        for seed in range(2):
            (tmp_path / folder / f"{seed}.jpg").write_bytes(encoded(picture(seed), "JPEG"))
    for name in ("cells.png", "ground.png"):
        (tmp_path / name).write_bytes(encoded(draw(240, 320, seed=5)))
    (tmp_path / "photo.jpg").write_bytes(SAMPLE.read_bytes())
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = plain_environment | {"QUARRY_SERVER": api, "PATH": path}
    section = SECTIONS[TITLES.index(request.param)]
    for language, code in re.findall(r"^```(bash|python)\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL):
        command = ["bash", "-euo", "pipefail", "-c", code] if language == "bash" else [sys.executable, "-c", code]
        run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
        assert run.returncode == 0, run.stderr
    return tmp_path


def recipe(beginning: str) -> pytest.MarkDecorator:
    (title,) = (title for title in TITLES if title.startswith(beginning))
    return pytest.mark.parametrize("done", [title], indirect=True, ids=[title])


def size_and_mode(path: Path) -> tuple[tuple[int, int], str]:
    with Pillow.open(path) as picture:
        return picture.size, picture.mode


@recipe("A catalogue")
def test_each_product_is_cut_out_twice(done: Path) -> None:
    for name in ("0", "1"):
        transparent, white = (size_and_mode(done / kind / name / "object_0.png") for kind in ("transparent", "white"))
        assert transparent == (white[0], "RGBA")
        assert white[1] == "RGB"


@recipe("A folder of photos")
def test_the_dataset_is_loaded_by_pycocotools(done: Path) -> None:
    dataset = COCO(done / "dataset.json")
    assert [image["file_name"] for image in dataset.imgs.values()] == ["0.jpg", "1.jpg"]
    assert all(dataset.annToMask(annotation).shape == (200, 260) for annotation in dataset.anns.values())


@recipe("A lab picture")
def test_the_table_agrees_with_the_label_map(done: Path) -> None:
    with Pillow.open(done / "labels.png") as picture:
        labels = np.asarray(picture)
    with (done / "areas.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["pixels"]) for row in rows] == np.bincount(labels.ravel())[1:].tolist()


@recipe("A photo to a collage")
def test_the_collage_is_of_the_grounds_size(done: Path) -> None:
    assert size_and_mode(done / "collage.jpg") == ((320, 240), "RGB")


@recipe("Many clicks")
def test_clicks_go_on_from_each_other(done: Path) -> None:
    assert (done / "photo.jpg").exists()


def test_no_recipe_is_without_its_test() -> None:
    assert len(TITLES) == 5
