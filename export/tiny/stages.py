"""The recipe: from small pictures of few things to the final side."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One stretch of the training.

    side: of the input, pixels. batch: pictures a step. steps: of the optimiser. rates: learning
    rate at the start and at the end, on a cosine between. dense_points: asked for on each picture
    by the dense objective. points, boxes: prompts of the decoder on each picture, 0 for none.
    correct_every: every so many steps a second round with a click and the mask so far, 0 for
    never. crops: the least and the greatest part of a scene's side that a sample shows.
    size_power: objects are asked for with a chance that grows with this power of their area.
    """

    side: int
    batch: int
    steps: int
    rates: tuple[float, float]
    dense_points: int
    points: int
    boxes: int
    correct_every: int
    crops: tuple[float, float]
    size_power: float


STAGES: tuple[Stage, ...] = (
    Stage(128, 12, 800, (5e-4, 5e-4), 16, 4, 4, 0, (0.2, 0.8), 0.5),
    Stage(256, 6, 1700, (5e-4, 3e-4), 16, 4, 4, 8, (0.35, 1.0), 0.4),
    Stage(384, 4, 850, (3e-4, 1e-5), 16, 4, 4, 6, (0.6, 1.0), 0.25),
)
"""Easy to hard: whoever starts at the final side learns nothing for hours."""
