"""The export as its users run it: what it makes, and what it says when it cannot."""

import hashlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam

from export import checkpoint, download, graphs, publish
from export.errors import ExportError
from export.tiny import weights
from orchestrator import bootstrap
from orchestrator.adapters.repository import FileModelRepository
from orchestrator.domain import prompts, rle
from orchestrator.domain.image import Image
from orchestrator.settings import Settings
from orchestrator.usecases.stopwatch import Stopwatch
from tests.conftest import REPOSITORY
from tests.pictures import draw


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, sam: Sam) -> Path:
    repository = tmp_path_factory.mktemp("repository")
    _publish(sam, repository)
    return repository


def _publish(sam: Sam, repository: Path) -> None:
    digest = checkpoint.sha256(weights.PATH)
    publish.publish(sam, "tiny", repository, checkpoint_sha256=digest, max_batch_size=8, report=lambda _: None)


def test_the_bundled_graphs_are_those_of_the_bundled_checkpoint(published: Path) -> None:
    made, bundled = (FileModelRepository(root).manifest("tiny") for root in (published, REPOSITORY))
    assert made.checkpoint_sha256 == bundled.checkpoint_sha256
    assert made.version == bundled.version
    assert (published / "tiny/config.pbtxt").read_text() == (REPOSITORY / "tiny/config.pbtxt").read_text()


def test_the_configuration_leaves_nothing_to_completion(published: Path) -> None:
    config = (published / "tiny/config.pbtxt").read_text()
    for word in ("dynamic_batching", "max_queue_size", "REJECT", "model_warmup", "KIND_AUTO", "priority_levels"):
        assert word in config
    assert FileModelRepository(published).manifest("tiny").version in config


def test_publishing_again_replaces_the_folder_whole(published: Path, sam: Sam) -> None:
    (published / "tiny/stale").write_text("")
    _publish(sam, published)
    assert not (published / "tiny/stale").exists()
    assert [path.name for path in published.iterdir()] == ["tiny"]


def test_an_export_that_fails_leaves_what_was_there_and_nothing_half_written(
    tmp_path: Path, sam: Sam, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny").mkdir()
    monkeypatch.setattr("export.measure.differences", lambda *_: {"embedding": float("nan")})
    with pytest.raises(ExportError, match="differ from PyTorch"):
        _publish(sam, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_fp16_storage_changes_no_number() -> None:
    exact = np.linspace(-4, 4, 2048, dtype=np.float16).astype(np.float32)
    inexact = np.linspace(-1, 1, 2048, dtype=np.float32) / 3
    huge = np.full(2048, 1e30, np.float32)
    constants = [
        numpy_helper.from_array(values, name) for name, values in zip("abc", (exact, inexact, huge), strict=True)
    ]
    node = helper.make_node("Sum", ["a", "b", "c"], ["out"])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [2048])
    model = helper.make_model(helper.make_graph([node], "g", [], [out], constants))
    graphs.halve_what_is_exact(model)
    onnx.checker.check_model(model)
    kinds = {constant.name: constant.data_type for constant in model.graph.initializer}
    assert kinds == {"a.fp16": TensorProto.FLOAT16, "b": TensorProto.FLOAT, "c": TensorProto.FLOAT}


def _export(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "export", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=200)


def test_the_command_exports_and_reports(tmp_path: Path) -> None:
    done = _export("tiny", "--repository", str(tmp_path), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "largest differences from PyTorch" in done.stderr
    assert json.loads((tmp_path / "tiny/1/manifest.json").read_text())["variant"] == "tiny"


def test_a_missing_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    done = _export("vit_b", "--checkpoint", str(tmp_path / "none.pth"), "--repository", str(tmp_path), folder=tmp_path)
    assert done.returncode == 1
    assert "error: There is no checkpoint file" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_repository_that_cannot_be_written_is_one_sentence(tmp_path: Path, sam: Sam) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be written"):
        _publish(sam, tmp_path / "file" / "repository")


@pytest.fixture(scope="module")
def vit_b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "sam_vit_b.pth"
    torch.save(sam_model_registry["vit_b"](checkpoint=None).state_dict(), path)
    return path


def test_a_checkpoint_of_another_variant_is_named(vit_b: Path) -> None:
    with pytest.raises(ExportError, match="is a checkpoint of vit_b, not of vit_l"):
        checkpoint.load("vit_l", vit_b)


def test_an_official_checkpoint_loads(vit_b: Path) -> None:
    assert checkpoint.load("vit_b", vit_b).image_encoder.img_size == 1024


def test_a_truncated_checkpoint_is_one_sentence(vit_b: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.pth"
    with vit_b.open("rb") as file:
        cut.write_bytes(file.read(5_000_000))
    with pytest.raises(ExportError, match="truncated"):
        checkpoint.load("vit_b", cut)
    short = tmp_path / "cut.safetensors"
    short.write_bytes(weights.PATH.read_bytes()[:100_000])
    with pytest.raises(ExportError, match="no checkpoint of tiny"):
        checkpoint.load("tiny", short)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"weight": partial(print, "run")}, path)
    with pytest.raises(ExportError, match="cannot be read"):
        checkpoint.load("vit_b", path)


@pytest.mark.parametrize("content", [{"a": 1}, {"a": torch.zeros(2)}])
def test_what_is_no_sam_checkpoint_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(ExportError, match=r"state dict|other names"):
        checkpoint.load("vit_b", path)


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(ExportError, match="vit_h"):
        checkpoint.load("vit_g")


class _Ranged(SimpleHTTPRequestHandler):
    """Serves files with ranges, as the official server does."""

    def do_GET(self) -> None:
        data = (Path(self.directory) / self.path.lstrip("/")).read_bytes()
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start:])

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Ranged, directory=str(folder))) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", folder
        httpd.shutdown()
        thread.join()


def _serve(folder: Path, data: bytes) -> str:
    (folder / "sam.pth").write_bytes(data)
    return "sam.pth"


def test_a_download_reports_is_checked_and_is_kept(server: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = server
    data = np.random.default_rng(0).bytes(3_000_000)
    name = _serve(folder, data)
    seen: list[tuple[int, int | None]] = []
    path = download.fetch(f"{url}/{name}", tmp_path / "cache", lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == data
    assert seen[-1] == (len(data), len(data))
    shutil.rmtree(folder)
    assert download.fetch(f"{url}/{name}", tmp_path / "cache", lambda *_: None) == path


def test_a_download_goes_on_where_it_broke_off(server: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = server
    data = np.random.default_rng(1).bytes(2_000_000)
    name = _serve(folder, data)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f"{name}.part").write_bytes(data[:1_500_000])
    seen: list[int] = []
    path = download.fetch(f"{url}/{name}", tmp_path / "cache", lambda done, _: seen.append(done))
    assert path.read_bytes() == data
    assert seen[0] > 1_500_000


def test_a_whole_part_needs_nothing_more(server: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = server
    name = _serve(folder, b"checkpoint")
    (tmp_path / f"{name}.part").write_bytes(b"checkpoint")
    assert download.fetch(f"{url}/{name}", tmp_path, lambda *_: None).read_bytes() == b"checkpoint"


def test_a_download_of_another_digest_is_thrown_away(server: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = server
    name = _serve(folder, b"spoiled")
    digests = {name: hashlib.sha256(b"sound").hexdigest()}
    with pytest.raises(ExportError, match="sha256"):
        download.fetch(f"{url}/{name}", tmp_path / "cache", lambda *_: None, digests)
    assert list((tmp_path / "cache").iterdir()) == []
    _serve(folder, b"sound")
    assert download.fetch(f"{url}/{name}", tmp_path / "cache", lambda *_: None, digests).read_bytes() == b"sound"


def test_the_official_files_digests_are_known() -> None:
    names = [url.rsplit("/", 1)[-1] for url in Settings().sam_model_urls.values()]
    assert sorted(names) == sorted(download.SHA256)
    assert all(len(digest) == 64 for digest in download.SHA256.values())


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://127.0.0.1:9/sam.pth"])
def test_a_download_that_cannot_be_says_what_to_do(url: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"SAM_MODEL_URLS|--checkpoint"):
        download.fetch(url, tmp_path, lambda *_: None)


def test_half_precision_graphs_find_the_same_masks(tmp_path: Path, sam: Sam) -> None:
    manifest = publish.publish(
        sam, "tiny", tmp_path, checkpoint_sha256="", max_batch_size=8, report=lambda _: None, precision="fp16"
    )
    assert manifest.precision == "fp16"
    assert "TYPE_FP16" in (tmp_path / "tiny/config.pbtxt").read_text()
    pixels = draw(300, 400, seed=4)
    prompt = prompts.from_boxes([[50, 60, 200, 220], [10, 10, 390, 290]], (300, 400))
    answers = [
        bootstrap.engines(Settings(model_repository=root)).segment.boxes(Image(pixels), prompt, "tiny", Stopwatch())
        for root in (tmp_path, REPOSITORY)
    ]
    for half, full in zip(answers[0].masks, answers[1].masks, strict=True):
        assert half.predicted_iou == pytest.approx(full.predicted_iou, abs=1e-2)
        one, other = rle.decode(half.segmentation), rle.decode(full.segmentation)
        assert np.count_nonzero(one & other) >= 0.98 * np.count_nonzero(one | other)


def test_a_server_of_another_user_can_read_what_was_published(published: Path) -> None:
    for path in (published / "tiny").rglob("*"):
        assert path.stat().st_mode & 0o004
