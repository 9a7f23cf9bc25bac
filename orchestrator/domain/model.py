"""What the service knows of a model: its manifest."""

from dataclasses import dataclass

VARIANTS = ("tiny", "vit_b", "vit_l", "vit_h")


@dataclass(frozen=True)
class Manifest:
    """`1/manifest.json` of a variant's folder in the model repository; written by the export.

    `version`: digest of the graphs and the preprocessing; `image_side`: S, pixels; `mask_threshold`: logits above it
    are foreground; `max_batch_size`:
    pictures that the encoder takes at once; `measured`: largest differences from PyTorch, by what was compared.
    """

    variant: str
    version: str
    image_side: int
    precision: str
    mask_threshold: float
    checkpoint_sha256: str
    licence: str
    max_batch_size: int
    graphs: dict[str, str]
    measured: dict[str, float]

    @property
    def embedding_shape(self) -> tuple[int, int, int]:
        """[E, S/16, S/16]."""
        return (256, self.image_side // 16, self.image_side // 16)

    @property
    def low_res_side(self) -> int:
        """Pixels of a low-res mask's side: S/4."""
        return self.image_side // 4
