"""The predicted IoUs are set to a quantile of what masks are worth, and nothing else changes."""

import re
from pathlib import Path

import pytest
import torch

from export.errors import ExportError
from export.tiny import pool, scores, start, weights
from export.tiny.decoding import decode
from export.tiny.encoding import encode
from export.tiny.losses import pair_ious
from export.tiny.objective import asked_masks, first_prompts
from export.tiny.samples import batches
from export.tiny.scores import QUANTILE, Seen
from export.tiny.stages import Stage

STAGE = Stage(128, 2, 0, (1e-3, 0), 4, 4, 3, 0, (0.5, 1.0), 0.2, 99)


def spread(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Predicted IoUs, and true ones that lie evenly within 0.2 of half of that."""
    random = torch.Generator().manual_seed(0)
    predicted, noise = torch.rand(2, count, 4, generator=random)
    return predicted, predicted / 2 + 0.2 * (2 * noise - 1)


@pytest.fixture
def scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pool.Pool:
    monkeypatch.setattr(pool, "CHUNK", 2)
    pool.draw_chunk(tmp_path, 0, from_seed=40_000_000)
    return pool.Pool(tmp_path, torch.device("cpu"))


def test_prompts_with_an_object_are_seen_with_the_best_iou_of_what_they_may_mean(scenes: pool.Pool) -> None:
    sam = start.new_model(0, 128).eval()
    batch = next(batches(scenes, STAGE, 0, 0))
    batch.chains[0, 1] = 0
    batch.chains[1, :, 2] = 1  # so that the masks of noise come near to one that they may mean
    seen = scores.look(sam, batch, STAGE.points, STAGE.boxes)
    real = torch.cat([batch.chains[:, :4, 0], batch.boxed[:, :3]], dim=1).sum((2, 3)) > 0
    assert not real.all()
    assert torch.equal(seen.boxes, (torch.arange(7) >= 4).expand(2, 7)[real])
    with torch.no_grad():
        embedding = encode(sam, batch.image, batch.shown)
        logits, predicted = decode(sam, embedding, first_prompts(sam, batch, 4, 3))
    asked = asked_masks(batch, 4, 3)
    meant = torch.stack([pair_ious(logits.flatten(3), asked.flatten(3))[..., level] for level in range(3)])
    best, worst = meant.amax(dim=0), meant.amin(dim=0)
    torch.testing.assert_close(seen.predicted, predicted[real], rtol=0, atol=0.02)  # it looks in bfloat16
    assert (seen.ious - best[real]).abs().mean() < 0.01
    assert (best[real] - worst[real]).mean() > 0.05


def test_a_file_of_weights_gets_the_line_and_nothing_else(
    scenes: pool.Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "weights.safetensors"
    sam = weights.load()
    scores.set_line(sam, 2, -2)
    old = sam.state_dict()
    weights.save(old, path)
    monkeypatch.setattr(scores, "FEWEST_PROMPTS", 90)
    monkeypatch.setattr("sys.argv", ["scores", "--pool", str(tmp_path), "--seconds", "0", "--weights", str(path)])
    scores.main()
    told = re.search(r"times (\S+) plus (\S+);", capsys.readouterr().out)
    assert told is not None
    scale, shift = map(float, told.groups())
    last = "mask_decoder.iou_prediction_head.layers.2."
    for name, tensor in weights.load(path).state_dict().items():
        if name == last + "weight":
            torch.testing.assert_close(tensor, old[name] * scale, rtol=0.01, atol=1e-3)
        elif name == last + "bias":
            torch.testing.assert_close(tensor, old[name] * scale + shift, rtol=0.01, atol=1e-3)
        else:
            assert torch.equal(tensor, old[name])
    assert scale == pytest.approx(0.5, abs=0.2)


def test_a_folder_without_scenes_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["scores", "--pool", str(tmp_path)])
    with pytest.raises(SystemExit):
        scores.main()
    assert "No scenes in" in capsys.readouterr().err


def test_a_head_that_knows_nothing_is_not_published() -> None:
    predicted, ious = spread(2000)
    with pytest.raises(ExportError, match="train it longer"):
        scores.straight_quantile(-predicted, ious, 0.5)


@pytest.mark.parametrize("quantile", [0.5, QUANTILE, 0.9])
def test_so_many_masks_are_worth_less_than_is_said(quantile: float) -> None:
    predicted, ious = spread(20_000)
    scale, shift = scores.straight_quantile(predicted, ious, quantile)
    assert (ious < scale * predicted + shift).float().mean().item() == pytest.approx(quantile, abs=0.001)
    assert (scale, shift) == pytest.approx((0.5, 0.2 * (2 * quantile - 1)), abs=0.01)


def test_a_second_time_changes_nothing() -> None:
    predicted, ious = spread(20_000)
    scale, shift = scores.straight_quantile(predicted, ious, QUANTILE)
    assert scores.straight_quantile(scale * predicted + shift, ious, QUANTILE) == pytest.approx((1, 0), abs=0.001)


def test_the_line_reaches_every_predicted_iou_and_no_mask() -> None:
    sam = start.new_model(0, 128).eval()
    random = torch.Generator().manual_seed(0)
    given = torch.randn(1, 256, 8, 8, generator=random), torch.randn(1, 3, 2, 256, generator=random)
    with torch.no_grad():
        masks, before = decode(sam, *given)
        scores.set_line(sam, 0.5, 0.25)
        same, after = decode(sam, *given)
    assert torch.equal(masks, same)
    torch.testing.assert_close(after, 0.5 * before + 0.25)


def test_only_what_would_be_served_is_judged() -> None:
    true = torch.linspace(0, 1, 400).view(100, 4)
    boxes = torch.arange(100) % 2 == 0
    predicted = true - 0.05
    predicted[boxes, 1:] = 7
    predicted[~boxes, 0] = 7
    told = Seen(predicted, true, boxes).judge()
    assert told.startswith("r 1.000, mean error 0.050, 0.88 keeps 62.5% of IoUs above it")  # those above 0.93
    assert told.endswith("100.0% of all kept have 0.5")


def test_scenes_of_another_first_seed_are_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CHUNK", 1)
    for chunk, seed in ((0, 5), (1, 4), (2, 5)):
        pool.draw_chunk(tmp_path, chunk, from_seed=seed)
    first, same, other = (pool.chunk_path(tmp_path, chunk).read_bytes() for chunk in range(3))
    assert first == same
    assert first != other
