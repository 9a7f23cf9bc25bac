"""The predicted IoUs are set to a quantile of what masks are worth, and nothing else changes."""

from pathlib import Path

import pytest
import torch

from export.tiny import pool, scores, start
from export.tiny.decoding import decode
from export.tiny.samples import batches
from export.tiny.scores import QUANTILE, Seen
from export.tiny.stages import Stage

STAGE = Stage(128, 2, 0, (1e-3, 0), 4, 4, 3, 0, (0.5, 1.0), 0.2, 99)


def spread(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Predicted IoUs, and true ones that lie evenly within 0.2 of half of that."""
    random = torch.Generator().manual_seed(0)
    predicted, noise = torch.rand(2, count, 4, generator=random)
    return predicted, predicted / 2 + 0.2 * (2 * noise - 1)


def test_all_prompts_with_an_object_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CHUNK", 2)
    pool.draw_chunk(tmp_path, 0, from_seed=40_000_000)
    sam = start.new_model(0, 128).eval()
    batch = next(batches(pool.Pool(tmp_path, torch.device("cpu")), STAGE, 0, 0))
    seen = scores.look(sam, batch, STAGE.points, STAGE.boxes)
    assert 2 * 3 < len(seen.boxes) <= 2 * 7
    assert seen.predicted.shape == seen.ious.shape == (len(seen.boxes), 4)
    assert 0 <= seen.ious.min() <= seen.ious.max() <= 1
    assert 0 < seen.boxes.sum() <= 2 * 3


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
    predicted = true - 0.1
    predicted[boxes, 1:] = 7
    predicted[~boxes, 0] = 7
    assert Seen(predicted, true, boxes).judge().startswith("r 1.000, mean error 0.100, of IoUs above 0.88 0.")


def test_scenes_of_another_first_seed_are_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CHUNK", 1)
    for chunk, seed in ((0, 5), (1, 4), (2, 5)):
        pool.draw_chunk(tmp_path, chunk, from_seed=seed)
    first, same, other = (pool.chunk_path(tmp_path, chunk).read_bytes() for chunk in range(3))
    assert first == same
    assert first != other
