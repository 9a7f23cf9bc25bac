"""All that a training is: built, kept in a checkpoint, grown to the next stage."""

from dataclasses import dataclass
from pathlib import Path

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn

from export.tiny import stages, start
from export.tiny.objective import DenseHead

Optimisers = tuple[torch.optim.Optimizer, ...]


@dataclass
class State:
    """All that a training is: a checkpoint holds this and nothing else is needed to go on."""

    sam: Sam
    head: DenseHead
    optimisers: Optimisers
    average: dict[str, Tensor]
    stage: int = 0
    step: int = 0
    seconds: float = 0.0
    stage_seconds: float = 0.0


def new_state(seed: int, stage: int, device: torch.device) -> State:
    """Fresh weights at the side of this stage."""
    sam = start.new_model(seed, stages.STAGES[stage].side).to(device)
    head = DenseHead().to(device)
    return State(sam, head, _optimisers(sam, head), copy_of(sam), stage)


def copy_of(sam: Sam) -> dict[str, Tensor]:
    """Its state dict as it is now, whatever becomes of the model."""
    return {name: tensor.detach().clone() for name, tensor in sam.state_dict().items()}


def _optimisers(sam: Sam, head: nn.Module) -> Optimisers:
    """Muon for the matrices within encoder and decoder, AdamW for the rest; twice the rate behind the encoder.

    Muon at Adam's rates (Liu et al. 2025, "Muon is Scalable for LLM Training") learned in 200 steps at a
    side of 128 what AdamW alone learned in 300.
    """
    hidden: dict[bool, list[nn.Parameter]] = {}
    rest: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in [*sam.named_parameters(), *head.named_parameters(prefix="head")]:
        plain = parameter.ndim < 2 or "pos" in name or "embed" in name or "token" in name
        encoder = name.startswith("image_encoder")
        if parameter.ndim == 2 and not plain and not name.startswith("head") and "layers.2." not in name:
            hidden.setdefault(encoder, []).append(parameter)
        else:
            rest.setdefault((plain, encoder), []).append(parameter)
    return (
        torch.optim.Muon(
            [{"params": held, "share": 1.0 if encoder else 2.0} for encoder, held in hidden.items()],
            weight_decay=0.05,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(
            [
                {"params": held, "weight_decay": 0.0 if plain else 0.05, "share": 1.0 if encoder else 2.0}
                for (plain, encoder), held in rest.items()
            ],
            betas=(0.9, 0.99),
            fused=True,
        ),
    )


def save(state: State, path: Path) -> None:
    """Write the checkpoint; a crash leaves the old one or the new one."""
    unfinished = path.with_suffix(".unfinished")
    torch.save(
        {
            "sam": state.sam.state_dict(),
            "head": state.head.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in state.optimisers],
            "average": state.average,
            "place": (state.stage, state.step, state.seconds, state.stage_seconds),
            "random": torch.get_rng_state(),
        },
        unfinished,
    )
    unfinished.replace(path)


def resume(path: Path, device: torch.device) -> State:
    """The state that `save` wrote."""
    held = torch.load(path, map_location=device, weights_only=True)
    stage, step, seconds, stage_seconds = held["place"]
    state = new_state(0, stage, device)
    state.sam.load_state_dict(held["sam"])
    state.head.load_state_dict(held["head"])
    for optimiser, its in zip(state.optimisers, held["optimisers"], strict=True):
        optimiser.load_state_dict(its)
    state.average = held["average"]
    state.step, state.seconds, state.stage_seconds = step, seconds, stage_seconds
    torch.set_rng_state(held["random"].cpu())
    return state


def next_stage(state: State, device: torch.device) -> State:
    """The averaged weights at the next stage's side, with a fresh optimiser."""
    stage = state.stage + 1
    grown = new_state(0, stage, device)
    grown.sam.load_state_dict(start.grow(state.average, stages.STAGES[stage].side))
    grown.head.load_state_dict(state.head.state_dict())
    grown.average = copy_of(grown.sam)
    grown.seconds = state.seconds
    return grown
