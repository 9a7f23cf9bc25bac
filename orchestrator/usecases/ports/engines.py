"""What makes masks of pictures, and remembers what was made. The tools that meet these needs are in `adapters/`."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.geometry import ModelInput
from orchestrator.domain.model import Manifest

Float32 = NDArray[np.float32]
Float16 = NDArray[np.float16]
Array = NDArray[np.float32] | NDArray[np.float16]

Progress = Callable[[float], None]
"""Called between batches with the share done, 0 to 1. What it raises ends the work: so it is canceled."""


class ModelRepository(Protocol):
    """The variants whose folders lie ready to be served."""

    def names(self) -> Iterable[str]: ...

    def manifest(self, name: str) -> Manifest:
        """Raises `ModelMissing` if the repository does not hold it."""


class Encoder(Protocol):
    """Pictures → embeddings, by models that are loaded and unloaded on request."""

    def encode(self, model: Manifest, picture: ModelInput) -> Float32:
        """Embedding [E, S/16, S/16]. Raises `ModelNotLoaded`, `Unavailable`, `Overloaded`, `DeadlineExceeded`."""

    def check(self) -> None:
        """Raises `Unavailable` while nobody answers; whether a model is loaded does not count."""

    def loaded(self) -> dict[str, str]:
        """Versions of the models that are ready, by name. Raises `Unavailable`."""

    def load(self, name: str) -> None:
        """Returns when the model is ready. Raises `Unavailable`."""

    def unload(self, name: str) -> None:
        """Returns when the model takes no new pictures. Raises `Unavailable`."""


class Scores(Protocol):
    """Prompts that were looked at, their masks not made yet."""

    @property
    def iou(self) -> Float32:
        """Predicted IoUs [P, M]: column 0 of the single mask, 1… of the candidates for whole, part and subpart."""

    def masks(self, keep: NDArray[np.bool_]) -> Float32:
        """Low-res logits [K, S/4, S/4] of the K masks chosen by `keep` [P, M], row by row."""


class DecoderSession(Protocol):
    """One picture, ready for prompts."""

    def scores(self, coords: Float32, labels: NDArray[np.int32]) -> Scores:
        """Prompts as in `domain.prompts`: `coords` [P, K, 2] in the model's frame, `labels` [P, K]."""


class Decoder(Protocol):
    """Embedding and prompts → masks; hands over no big arrays before they are asked for."""

    @property
    def prompts_at_once(self) -> int:
        """How many prompts of one call suit the machine's caches and memory."""

    def open(self, embedding: Float32, mask_input: Float32 | None = None) -> DecoderSession:
        """`mask_input`: low-res logits [S/4, S/4] of an earlier answer, as a further prompt for all that follow."""


class Decoders(Protocol):
    def get(self, model: Manifest) -> Decoder:
        """The decoder of that very version. Raises `ModelMissing`."""


@dataclass(frozen=True)
class ArrayKey:
    """`content`: what picture it was made of; `name`: which array that is."""

    content: str
    name: str


class ArrayCache(Protocol):
    """Arrays made of pictures, for a while; bounded in bytes, the least recently used go first."""

    def get(self, key: ArrayKey) -> Array | None: ...

    def put(self, key: ArrayKey, array: Array, since: float) -> None:
        """`since`: seconds since the epoch when it began to be made. Forgotten if its picture was since then."""

    def forget(self, content: str) -> None:
        """All that was made of a picture. Raises `Unavailable`."""

    def turn(self, key: ArrayKey) -> AbstractContextManager[None]:
        """Those who make the same array take turns. The wait is bounded: an array may be made twice, never not."""
