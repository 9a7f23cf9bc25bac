"""The demo: the real stack, the real API, from start to end."""

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from orchestrator.local import demo
from tests.local.processes import Family, gone


@pytest.fixture
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A picture that is sent in the bundled one's place."""
    path = tmp_path / "picture.jpg"
    drawing = Image.new("RGB", (1200, 800), "beige")
    ImageDraw.Draw(drawing).ellipse((100, 100, 500, 500), fill="teal")
    drawing.save(path)
    monkeypatch.setattr(demo, "SAMPLE", path)
    return path


def test_it_shows_masks_and_pictures_and_leaves_nothing_running(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], family: Family
) -> None:
    output = tmp_path / "output"
    assert demo.main(["--output", str(output)]) == 0
    assert gone(family(), within=0)
    shown = capsys.readouterr().out
    assert str(output) in shown.replace("\n", "")
    assert shown.count("│ boxes") == len(demo.BOXES)
    for name in demo.REQUESTS:
        with Image.open(output / f"{name}.png") as overlay:
            assert overlay.format == "PNG"
            assert overlay.size == (1200, 800)


def test_a_refusal_of_the_api_is_shown_and_everything_stops(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], family: Family
) -> None:
    picture.write_bytes(b"not a picture")
    assert demo.main(["--output", str(tmp_path / "output")]) == 1
    assert gone(family(), within=0)
    assert "answered 415" in capsys.readouterr().err
