"""The demo: the real stack, the real API, from start to end."""

from pathlib import Path

import pytest
from PIL import Image

from orchestrator.local import demo
from tests.local.processes import Family, gone


def test_it_shows_masks_and_pictures_and_leaves_nothing_running(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], family: Family
) -> None:
    output = tmp_path / "output"
    assert demo.main(["--output", str(output)]) == 0
    assert gone(family(), within=0)
    shown = capsys.readouterr().out
    assert str(output) in shown.replace("\n", "")
    assert shown.count("│ boxes") == len(demo.BOXES)
    with Image.open(demo.SAMPLE) as sample:
        size = sample.size
    for name in demo.REQUESTS:
        with Image.open(output / f"{name}.png") as overlay:
            assert overlay.format == "PNG"
            assert overlay.size == size


def test_a_refusal_of_the_api_is_shown_and_everything_stops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiled = tmp_path / "picture.jpg"
    spoiled.write_bytes(b"not a picture")
    monkeypatch.setattr(demo, "SAMPLE", spoiled)
    assert demo.main(["--output", str(tmp_path / "output")]) == 1
    assert gone(family(), within=0)
    assert "answered 415" in capsys.readouterr().err
