"""The IoU head is taught alone, and says afterwards what masks are worth."""

from pathlib import Path

import pytest
import torch
from torch import nn

from export.tiny import architecture, pool, scores, start
from export.tiny.samples import batches
from export.tiny.scores import Seen
from export.tiny.stages import Stage

STAGE = Stage(128, 2, 0, (1e-3, 0), 4, 4, 3, 0, (0.5, 1.0), 0.2, 99)


def test_what_the_head_reads_gives_what_the_decoder_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CHUNK", 2)
    pool.draw_chunk(tmp_path, 0, from_seed=40_000_000)
    sam = start.new_model(0, 128).eval()
    batch = next(batches(pool.Pool(tmp_path, torch.device("cpu")), STAGE, 0, 0))
    seen = scores.look(sam, batch, STAGE.points, STAGE.boxes)
    assert len(seen.states) == len(seen.ious) == len(seen.boxes) <= 2 * 7
    assert seen.states.shape[1] == architecture.EMBEDDING_CHANNELS
    assert seen.ious.shape[1] == 4
    assert 0 <= seen.ious.min() <= seen.ious.max() <= 1
    assert seen.boxes.any()
    assert not sam.mask_decoder.iou_prediction_head._forward_pre_hooks


def test_a_taught_head_leaves_a_smaller_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "EPOCHS", 400)
    torch.manual_seed(0)
    states = torch.randn(4000, 8)
    true = (states[:, :1] * 0.2 + 0.5).expand(-1, 4).clamp(0, 1)
    seen = Seen(states, true, torch.arange(4000) % 3 == 0)
    head = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
    before = (head(states) - true).abs().mean().item()
    scores.fit(head, seen)
    assert (head(states) - true).abs().mean().item() < 0.5 * before
    assert scores.judge(head, seen).startswith("r 0.9")


def test_six_of_ten_masks_are_worth_less_than_a_taught_head_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "EPOCHS", 400)
    torch.manual_seed(0)
    seen = Seen(torch.zeros(4000, 8), torch.rand(4000, 4), torch.arange(4000) % 3 == 0)
    head = nn.Linear(8, 4)
    nn.init.constant_(head.bias, 0.5)
    scores.fit(head, seen)
    assert (seen.ious < head(seen.states)).float().mean().item() == pytest.approx(0.6, abs=0.02)


def test_scenes_of_another_first_seed_are_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CHUNK", 1)
    for chunk, seed in ((0, 5), (1, 4), (2, 5)):
        pool.draw_chunk(tmp_path, chunk, from_seed=seed)
    first, same, other = (pool.chunk_path(tmp_path, chunk).read_bytes() for chunk in range(3))
    assert first == same
    assert first != other
