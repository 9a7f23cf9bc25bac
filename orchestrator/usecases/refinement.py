"""Handles to low-res logits: what a prompt found is given back with the next one, as SAM's own loop does."""

import secrets
import time

import numpy as np

from orchestrator.domain.errors import NotFound
from orchestrator.domain.image import Image
from orchestrator.domain.model import Manifest
from orchestrator.usecases.ports.engines import ArrayCache, ArrayKey, Float32
from orchestrator.usecases.segment import Segmentation


class Refinement:
    """A handle is of one picture and one model's version, and lives as long as the cache keeps it."""

    def __init__(self, cache: ArrayCache) -> None:
        self._cache = cache

    def keep(self, image: Image, found: Segmentation) -> list[str]:
        """A handle for each mask, in their order."""
        handles = []
        for logits in found.logits:
            handle = secrets.token_urlsafe(12)
            self._cache.put(_key(image, found.model, handle), logits, time.time())
            handles.append(handle)
        return handles

    def find(self, image: Image, model: Manifest, handle: str) -> Float32:
        """The logits [S/4, S/4]. Raises `NotFound`."""
        found = self._cache.get(_key(image, model, handle))
        if found is None:
            raise NotFound(
                "There are no logits of this mask_input: it has expired, or is of another picture or model. "
                "Ask again without it, with refine=true."
            )
        return found.astype(np.float32)


def _key(image: Image, model: Manifest, handle: str) -> ArrayKey:
    return ArrayKey(image.content, f"logits/{model.version}/{handle}")
