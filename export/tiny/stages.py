"""The recipe: from small pictures of few things to large ones of many; `finish.py` adds the last of the side."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Stage:
    """One stretch of the training.

    side: of the input, pixels. batch: pictures a step. share: part of the training's time.
    rates: learning rate at the start and at the end, on a cosine between, for the whole batch.
    dense_points: asked for on each picture by the dense objective. points, boxes: prompts of the
    decoder on each picture. correct_every: every so many steps a second round with a click and the
    mask so far, 0 for never. crops: the least and the greatest part of a scene's side that a
    sample shows. size_power: objects are asked for with a chance that grows with this power of their area.
    most_wholes: scenes with more wholes than this are left out.
    """

    side: int
    batch: int
    share: float
    rates: tuple[float, float]
    dense_points: int
    points: int
    boxes: int
    correct_every: int
    crops: tuple[float, float]
    size_power: float
    most_wholes: int

    def scaled(self, factor: float) -> "Stage":
        """With another batch, and rates by the root of it, as Adam wants (Malladi et al. 2022)."""
        root = factor**0.5
        return replace(
            self, batch=max(1, round(self.batch * factor)), rates=(self.rates[0] * root, self.rates[1] * root)
        )


STAGES: tuple[Stage, ...] = (
    Stage(128, 64, 0.04, (8e-4, 8e-4), 16, 6, 6, 0, (0.25, 0.8), 0.8, 6),
    Stage(256, 64, 0.13, (8e-4, 8e-4), 12, 8, 8, 8, (0.3, 1.0), 0.5, 99),
    Stage(384, 64, 0.09, (8e-4, 8e-4), 12, 8, 8, 8, (0.4, 1.0), 0.3, 99),
    Stage(512, 64, 0.29, (8e-4, 2.5e-4), 10, 8, 8, 8, (0.4, 0.85), 0.2, 99),
    Stage(768, 32, 0.45, (3e-4, 1e-6), 10, 8, 8, 8, (0.7, 1.0), 0.1, 99),
)
"""Easy to hard: whoever starts at the final side learns nothing for hours. The batches are those of
one large GPU; on a CPU they are an eighth of that, see `--batch-scale`, and the rates are lower by
the root of it."""
