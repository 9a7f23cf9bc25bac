"""The recipe: from small pictures of few things to the final side."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One stretch of the training.

    side: of the input, pixels. batch: pictures a step. steps: of the optimiser. rates: learning
    rate at the start and at the end, on a cosine between. dense_points: asked for on each picture
    by the dense objective. points, boxes: prompts of the decoder on each picture, 0 for none.
    correct_every: every so many steps a second round with a click and the mask so far, 0 for
    never. smallest_crop: the smallest part of a scene that a sample shows.
    """

    side: int
    batch: int
    steps: int
    rates: tuple[float, float]
    dense_points: int
    points: int
    boxes: int
    correct_every: int
    smallest_crop: float


STAGES: tuple[Stage, ...] = (
    Stage(128, 32, 350, (1e-3, 1e-3), 16, 0, 0, 0, 0.2),
    Stage(128, 32, 400, (1e-3, 1e-3), 16, 3, 2, 0, 0.2),
    Stage(256, 12, 1200, (8e-4, 5e-4), 16, 3, 2, 6, 0.35),
    Stage(384, 6, 600, (4e-4, 1e-5), 16, 4, 3, 4, 0.6),
)
"""Easy to hard: whoever starts at the final side learns nothing for hours."""
