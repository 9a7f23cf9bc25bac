"""The command line, as a process."""

import io
import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from pycocotools.coco import COCO

from orchestrator.adapters import database
from orchestrator.local.triton import TritonAddresses
from tests.pictures import draw, encoded


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "drawn.png"
    path.write_bytes(encoded(draw(200, 300)))
    return path


def quarry(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "orchestrator.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def test_a_picture_is_segmented_without_a_server(
    plain_environment: dict[str, str], picture: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    boxes = ("--box", "10,10,90,90", "--box", "100,50,250,180")
    done = quarry(plain_environment, "segment", str(picture), *boxes, "-o", str(out))
    assert done.returncode == 0, done.stderr
    assert {path.name for path in out.iterdir()} == {"mask_0.png", "mask_1.png", "overlay.png", "result.json"}
    result = json.loads((out / "result.json").read_text())
    mask = cv2.imread(str(out / "mask_1.png"), cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    assert mask.shape == (200, 300)
    assert np.count_nonzero(mask) == result["masks"][1]["area"]


def test_commands_run_from_any_folder(plain_environment: dict[str, str], picture: Path, tmp_path: Path) -> None:
    del plain_environment["MODEL_REPOSITORY"]
    command = [sys.executable, "-m", "orchestrator.cli.main", "segment", str(picture), "--point", "50,50"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=plain_environment, timeout=120, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/overlay.png").exists()


def test_with_a_server_the_answer_is_the_same(
    plain_environment: dict[str, str], picture: Path, tmp_path: Path, api: str
) -> None:
    prompt = ("--point", "120,80", "--exclude", "10,10", "--box", "40,40,220,180")
    for name, server in (("here", ()), ("there", ("--server", api))):
        done = quarry(plain_environment, "segment", str(picture), *prompt, *server, "-o", str(tmp_path / name))
        assert done.returncode == 0, done.stderr
    here, there = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("here", "there"))
    for one, other in zip(here["masks"], there["masks"], strict=True):
        assert one["predicted_iou"] == pytest.approx(other["predicted_iou"], abs=1e-4)
        assert one["segmentation"] == other["segmentation"]


def test_all_masks_go_to_a_coco_document_and_a_picture(
    plain_environment: dict[str, str], picture: Path, tmp_path: Path, api: str
) -> None:
    options = ("--points-per-side", "5", "--pred-iou-thresh", "0.1", "--stability-score-thresh", "0.1")
    for name, server in (("here", ()), ("there", ("--server", api))):
        done = quarry(plain_environment, "auto", str(picture), *options, *server, "-o", str(tmp_path / name))
        assert done.returncode == 0, done.stderr
        dataset = COCO(tmp_path / name / "coco.json")
        assert [image["file_name"] for image in dataset.imgs.values()] == ["drawn.png"]
        assert len(dataset.anns) > 0
        assert (tmp_path / name / "overlay.png").stat().st_size > 0


@pytest.mark.parametrize("where", ["here", "there"])
def test_every_parameter_of_the_grid_is_within_reach(
    plain_environment: dict[str, str], picture: Path, tmp_path: Path, api: str, where: str
) -> None:
    loose = ("--pred-iou-thresh", "-1", "--stability-score-thresh", "-1", "--min-mask-region-area", "0")
    own = ("-f", "points=[[60,60],[150,100]]", "-f", "roi=[0,0,100,100]", "-f", "box_nms_thresh=1")
    server = ("--server", api) if where == "there" else ()
    done = quarry(plain_environment, "auto", str(picture), *loose, *own, *server, "-o", str(tmp_path / where))
    assert done.returncode == 0, done.stderr
    dataset = COCO(tmp_path / where / "coco.json")
    assert 0 < len(dataset.anns) <= 3  # of one point: the other lies outside of the region


def test_a_parameter_that_there_is_not_is_one_sentence(
    plain_environment: dict[str, str], picture: Path, tmp_path: Path
) -> None:
    for wrong, words in (("pts=3", "points_per_side"), ("max_area=many", "max_area")):
        done = quarry(plain_environment, "auto", str(picture), "-f", wrong, "-o", str(tmp_path / "out"))
        assert done.returncode != 0
        assert words in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--box", "1,2,3"], "4 numbers"),
        (["--point", "a,b"], "numbers"),
        (["--box", "900,900,999,999"], "outside the picture"),
        (["--point", "1,1", "--box", "1,1,5,5", "--box", "2,2,6,6"], "one box"),
        (["--model", "vit_h", "--point", "1,1"], "python -m export vit_h"),
        (["--server", "http://127.0.0.1:9", "--point", "1,1"], "quarry up"),
        (["--server", "http://[", "--point", "1,1"], "--server"),
        (["--server", "ftp://localhost", "--point", "1,1"], "no web address"),
        (["--server", "127.0.0.1:9", "--point", "1,1"], "quarry up"),
        (["--point", "1,1", "-o", "/proc/nowhere"], "/proc/nowhere"),
        (["--point", "1,1", "-o", "/etc/hostname"], "is a file"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    plain_environment: dict[str, str], picture: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    done = quarry(plain_environment, "segment", str(picture), "-o", str(tmp_path / "out"), *arguments)
    assert done.returncode != 0
    assert words in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


class Stranger(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<p>Welcome</p>")


def test_another_server_is_one_sentence(plain_environment: dict[str, str], picture: Path, tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        for command in ("segment", "auto"):
            done = quarry(plain_environment, command, str(picture), "--server", address, "-o", str(tmp_path / "out"))
            assert done.returncode == 1
            assert "no Image Quarry" in done.stderr
            assert "Traceback" not in done.stderr
        server.shutdown()


def test_a_setting_that_is_wrong_is_one_sentence(plain_environment: dict[str, str]) -> None:
    for wrong in ({"PORT": "abc"}, {"CORS_ORIGINS": "*"}):
        (name,) = wrong
        for command in (["models", "list"], ["up", "--port", "0"]):
            done = quarry(plain_environment | wrong, *command)
            assert done.returncode != 0
            assert name in done.stderr or "is no port" in done.stderr
            assert "Traceback" not in done.stderr


def test_a_file_that_is_no_picture_is_one_sentence(plain_environment: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "text.png"
    path.write_text("text")
    done = quarry(plain_environment, "segment", str(path), "--point", "1,1")
    assert done.returncode == 1
    assert "error: This is not a picture" in done.stderr


def test_models_are_listed_here_and_on_a_server(plain_environment: dict[str, str], api: str) -> None:
    for server in ((), ("--server", api)):
        done = quarry(plain_environment, "models", "list", *server)
        assert done.returncode == 0, done.stderr
        assert all(name in done.stdout for name in ("tiny", "vit_b", "vit_l", "vit_h"))


def test_models_are_loaded_and_unloaded_by_a_server_or_by_triton(
    plain_environment: dict[str, str], api: str, triton: TritonAddresses
) -> None:
    for place in ({}, {"TRITON_URL": triton.grpc}):
        server = [] if place else ["--server", api]
        environment = plain_environment | place
        assert "not_loaded" in quarry(environment, "models", "unload", "tiny", *server).stdout
        assert "tiny: loaded" in quarry(environment, "models", "load", "tiny", *server).stdout


def test_loading_needs_a_server(plain_environment: dict[str, str]) -> None:
    done = quarry(plain_environment, "models", "load", "tiny")
    assert done.returncode == 1
    assert "--server" in done.stderr


def test_a_servers_refusal_is_told_in_its_words(plain_environment: dict[str, str], api: str) -> None:
    done = quarry(plain_environment, "models", "load", "vit_h", "--server", api)
    assert done.returncode == 1
    assert "python -m export vit_h" in done.stderr


def opened(path: Path) -> Pillow.Image:
    return Pillow.open(io.BytesIO(path.read_bytes()))


def test_objects_of_a_picture_are_cut_out_here_and_by_a_server_alike(
    plain_environment: dict[str, str], picture: Path, tmp_path: Path, api: str
) -> None:
    prompt = ("--box", "10,10,90,90", "--box", "30%,25%,90%,95%", "--min-area", "0", "--padding", "3")
    for name, server in (("here", ()), ("there", ("--server", api))):
        done = quarry(plain_environment, "extract", str(picture), *prompt, *server, "-o", str(tmp_path / name))
        assert done.returncode == 0, done.stderr
        assert "2 objects of 1 pictures" in done.stdout
    for name in ("object_0.png", "object_1.png"):
        here, there = (opened(tmp_path / place / name) for place in ("here", "there"))
        assert here.mode == "RGBA"
        assert here.size == there.size
    found = json.loads((tmp_path / "here/result.json").read_text())["objects"]
    assert found[0]["mask"]["area"] >= found[1]["mask"]["area"]


def test_a_folder_is_cut_out_picture_by_picture_and_a_bad_one_stops_no_other(
    plain_environment: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "catalogue"
    folder.mkdir()
    for name in ("one.png", "two.png", "two.jpg"):
        (folder / name).write_bytes(encoded(draw(120, 160)))
    (folder / "broken.png").write_text("text")
    (folder / "notes.txt").write_text("text")
    out = tmp_path / "out"
    prompt = ("--point", "50%,50%", "--min-area", "0", "--background", "white")
    done = quarry(plain_environment, "extract", str(folder), *prompt, "-o", str(out))
    assert done.returncode == 1
    assert "3 objects of 3 pictures" in done.stdout
    assert "broken.png: This is not a picture" in " ".join(done.stderr.split())
    assert {path.name for path in out.iterdir()} == {"one", "two.jpg", "two.png"}
    assert opened(out / "one/object_0.png").mode == "RGB"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--point", "a%,1"], "numbers"),
        (["--edges", "sharp"], "soft or hard"),
        (["--point", "1,1", "--box", "1,1,5,5", "--box", "2,2,6,6"], "one box"),
    ],
)
def test_an_extraction_that_makes_no_sense_is_one_sentence(
    plain_environment: dict[str, str], picture: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    done = quarry(plain_environment, "extract", str(picture), *arguments, "-o", str(tmp_path / "out"))
    assert done.returncode != 0
    assert words in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


def test_a_folder_without_pictures_is_told(plain_environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = quarry(plain_environment, "extract", str(tmp_path / "empty"))
    assert done.returncode == 1
    assert "no picture in" in done.stderr


def test_a_clean_up_of_a_state_that_is_there_says_what_goes(plain_environment: dict[str, str], tmp_path: Path) -> None:
    state = {
        "DATABASE_URL": f"sqlite:///{tmp_path}/quarry.db",
        "UPLOAD_DIR": str(tmp_path / "uploads"),
        "RESULTS_DIR": str(tmp_path / "results"),
    }
    refused = quarry(plain_environment | state, "cleanup", "--dry-run")
    assert refused.returncode == 1
    assert "DATABASE_URL" in refused.stderr
    assert not (tmp_path / "quarry.db").exists()
    database.migrate(database.connect(state["DATABASE_URL"]))
    for option, verb in ((["--dry-run"], "would go"), ([], "are gone")):
        done = quarry(plain_environment | state, "cleanup", *option)
        assert done.returncode == 0, done.stderr
        assert verb in done.stdout
