"""The training: exact where it rewrites the official decoder, and resumable."""

import argparse
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from export.tiny import architecture, decoding, encoding, finish, objective, pool, samples, stages, start, train
from export.tiny.losses import pair_ious, pair_losses
from export.tiny.stages import Stage
from export.tiny.state import State, new_state

SMALL = Stage(128, 2, 1.0, (1e-3, 1e-3), 4, 2, 1, 2, (0.5, 1.0), 0.5, 99)


@pytest.fixture
def one_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "STAGES", (SMALL,))


def run(work: Path, scenes: Path, steps: float, seconds: float = 1e6) -> State:
    """Train until this many steps are done or the time is up, from the checkpoint if there is one."""
    work.mkdir(exist_ok=True)
    chosen = argparse.Namespace(
        device="cpu",
        seed=5,
        from_stage=0,
        seconds=seconds,
        batch_scale=1.0,
        stop_after=math.inf,
        stop_at_step=steps,
        save_every=1e9,
        check_every=1e9,
        report_every=1000,
    )
    return train.train(work, scenes, chosen)


@pytest.mark.usefixtures("one_stage")
def test_an_interrupted_training_ends_in_the_same_state(tmp_path: Path, scenes: Path) -> None:
    run(tmp_path / "interrupted", scenes, 2)
    resumed = run(tmp_path / "interrupted", scenes, 4)
    straight = run(tmp_path / "straight", scenes, 4)
    assert resumed.step == straight.step == 4
    for name, tensor in straight.sam.state_dict().items():
        torch.testing.assert_close(resumed.sam.state_dict()[name], tensor, rtol=0, atol=1e-6)


@pytest.mark.usefixtures("one_stage")
def test_a_stage_ends_with_its_share_of_the_time_and_leaves_its_weights(tmp_path: Path, scenes: Path) -> None:
    state = run(tmp_path / "work", scenes, math.inf, seconds=0.5)
    assert 0.5 <= state.stage_seconds < 30
    left = load_file(tmp_path / "work/stage-0.safetensors")
    assert left.keys() == state.average.keys()


@pytest.mark.usefixtures("one_stage")
def test_steps_on_the_same_scenes_lower_the_loss(tmp_path: Path, scenes: Path) -> None:
    state = new_state(1, 0, torch.device("cpu"))
    batch = next(samples.batches(pool.Pool(scenes, torch.device("cpu")), SMALL, 1, 0))
    still = Stage(128, 2, 1.0, (1e-3, 1e-3), 4, 2, 1, 0, (0.5, 1.0), 0.5, 99)
    losses = [train.train_step(state, still, batch, 0.0) for _ in range(5)]
    assert sum(losses[-1].values()) - losses[-1]["norm"] < sum(losses[0].values()) - losses[0]["norm"]


@pytest.mark.usefixtures("one_stage")
def test_a_fresh_head_learns_beside_a_model_that_stays(scenes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "HEAD_ALONE", 2)
    state = new_state(1, 0, torch.device("cpu"))
    sam, head = ({n: t.clone() for n, t in part.state_dict().items()} for part in (state.sam, state.head))
    train.teach_head(state, samples.batches(pool.Pool(scenes, torch.device("cpu")), SMALL, 1, 0))
    assert all(torch.equal(tensor, sam[name]) for name, tensor in state.sam.state_dict().items())
    assert not any(torch.equal(tensor, head[name]) for name, tensor in state.head.state_dict().items())


def test_a_smaller_batch_has_rates_lower_by_the_root() -> None:
    quarter = Stage(128, 64, 1.0, (8e-4, 4e-4), 4, 2, 1, 2, (0.5, 1.0), 0.5, 99).scaled(0.25)
    assert (quarter.batch, quarter.rates) == (16, (4e-4, 2e-4))
    assert quarter.scaled(1e-9).batch == 1


@pytest.mark.parametrize("with_mask", [False, True])
def test_the_batched_decoder_equals_the_official_one(with_mask: bool) -> None:
    sam = start.new_model(0, 128).eval()
    embedding = torch.randn(2, 256, 8, 8)
    points = torch.rand(2, 3, 1, 2) * 128
    given = torch.randn(6, 1, 32, 32) if with_mask else None
    with torch.no_grad():
        sparse = objective.embed_prompts(sam, points.flatten(0, 1), torch.ones(6, 1), None)
        dense = sam.prompt_encoder.mask_downscaling(given) if given is not None else None
        logits, scores = decoding.decode(sam, embedding, sparse.view(2, 3, 2, -1), dense)
        for row in range(2):
            mine = given[3 * row : 3 * row + 3] if given is not None else None
            tokens, field = sam.prompt_encoder((points[row], torch.ones(3, 1)), None, mine)
            place = sam.prompt_encoder.get_dense_pe()
            wanted, sure = sam.mask_decoder.predict_masks(embedding[row : row + 1], place, tokens, field)
            torch.testing.assert_close(logits[row], wanted, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(scores[row], sure, rtol=1e-4, atol=1e-5)


def test_growing_keeps_what_an_offset_means() -> None:
    small = start.new_model(0, 128).state_dict()
    grown = start.grow(small, architecture.IMAGE_SIDE)
    architecture.build().load_state_dict(grown, strict=True)
    name = "image_encoder.blocks.1.attn.rel_pos_h"
    before, after = small[name], grown[name]
    middle = len(after) // 2
    torch.testing.assert_close(after[middle], before[len(before) // 2])
    torch.testing.assert_close(after[0], before[0])


def test_a_training_goes_on_from_what_was_published() -> None:
    learned = start.new_model(0, 128).state_dict()
    again = finish.unfinished(finish.finished(learned), 128)
    architecture.build(128).load_state_dict(again, strict=True)
    for name in learned.keys() - {"image_encoder.pos_embed"}:  # which is interpolated, there and back
        torch.testing.assert_close(again[name], learned[name], msg=name)


def test_a_side_that_no_windows_tile_is_refused() -> None:
    with pytest.raises(ValueError, match="816"):
        architecture.build(816)


def test_pair_losses_are_least_where_output_and_target_agree() -> None:
    targets = torch.zeros(2, 64)
    targets[0, :20], targets[1, 30:] = 1, 1
    logits = targets * 20 - 10
    losses, ious = pair_losses(logits, targets), pair_ious(logits, targets)
    assert (losses.diagonal() < 0.1).all()
    assert losses[0, 1] > 1
    torch.testing.assert_close(ious, torch.eye(2))


def test_the_encoder_of_matrix_products_equals_the_official_one() -> None:
    sam = start.new_model(0, 128).eval()
    image = torch.randint(0, 256, (2, 128, 128, 3), dtype=torch.uint8)
    shown = torch.tensor([[128, 100], [90, 128]])
    with torch.no_grad():
        embedding = encoding.encode(sam, image, shown)
        for row, (height, width) in enumerate(shown.tolist()):
            picture = image[row].permute(2, 0, 1)[None, :, :height, :width].float()
            wanted = sam.image_encoder(sam.preprocess(picture))
            torch.testing.assert_close(embedding[row : row + 1], wanted, rtol=1e-4, atol=1e-4)


def test_finishing_changes_no_mask_and_no_score() -> None:
    sam = start.new_model(0, architecture.IMAGE_SIDE).eval()
    published = architecture.build().eval()
    published.load_state_dict(finish.finished(sam.state_dict()), strict=True)
    across = architecture.IMAGE_SIDE // architecture.PATCH_SIDE
    embedding = torch.randn(1, 256, across, across)
    prompts = torch.rand(1, 4, 2, 256)
    given = torch.randn(4, 1, 4 * across, 4 * across)
    with torch.no_grad():
        dense = sam.prompt_encoder.mask_downscaling(given)
        logits, scores = decoding.decode(sam, embedding, prompts, dense)
        dense = published.prompt_encoder.mask_downscaling(given * finish.SHARPNESS)
        sharper, unchanged = decoding.decode(published, embedding, prompts, dense)
    torch.testing.assert_close(sharper, logits * finish.SHARPNESS, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(unchanged, scores, rtol=1e-3, atol=1e-4)
