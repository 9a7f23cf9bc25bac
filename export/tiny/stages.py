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
    most_wholes: scenes with more wholes than this are left out.
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
    most_wholes: int


STAGES: tuple[Stage, ...] = (
    Stage(128, 12, 600, (5e-4, 5e-4), 16, 4, 4, 0, (0.2, 0.8), 0.5, 99),
    Stage(256, 6, 400, (5e-4, 5e-4), 16, 4, 4, 8, (0.35, 1.0), 0.4, 99),
    Stage(128, 12, 750, (5e-4, 5e-4), 16, 6, 6, 0, (0.25, 0.8), 0.9, 5),
    Stage(256, 6, 780, (3e-4, 1.5e-4), 16, 6, 6, 0, (0.3, 1.0), 0.6, 6),
    Stage(384, 4, 348, (2.5e-4, 1.3e-4), 16, 5, 5, 8, (0.5, 1.0), 0.4, 12),
    Stage(256, 8, 800, (4e-4, 4e-4), 16, 4, 4, 6, (0.35, 1.0), 0.4, 99),
    Stage(384, 4, 1200, (3e-4, 2e-6), 16, 5, 5, 6, (0.5, 1.0), 0.3, 99),
)
"""Easy to hard: whoever starts at the final side learns nothing for hours."""
