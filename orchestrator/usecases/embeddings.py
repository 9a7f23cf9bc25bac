"""Pictures' embeddings, made once and remembered."""

import time

import numpy as np

from orchestrator.domain.errors import ModelNotLoaded
from orchestrator.domain.geometry import to_model_input
from orchestrator.domain.grid import CropBox
from orchestrator.domain.image import Image
from orchestrator.domain.model import Manifest
from orchestrator.usecases.models import Models
from orchestrator.usecases.ports.engines import Array, ArrayCache, ArrayKey, Encoder, Float32
from orchestrator.usecases.stopwatch import Stopwatch


class Embeddings:
    """Looked up by content, model version and crop, before anything is decoded.

    Kept as they are, so that hit and miss give the official answer; in half precision where nothing is lost by it.
    """

    def __init__(self, models: Models, encoder: Encoder, cache: ArrayCache) -> None:
        self._models = models
        self._encoder = encoder
        self._cache = cache

    def get(self, image: Image, model: Manifest, watch: Stopwatch, crop: CropBox | None = None) -> Float32:
        """[E, S/16, S/16] of a part x0, y0, x1, y1 of the picture, or of all of it."""
        box = crop or (0, 0, image.width, image.height)
        key = ArrayKey(image.content, f"embedding/{model.version}/{'-'.join(map(str, box))}")
        with watch.stage("lookup"):
            found = self._cache.get(key)
        if found is None:
            # Whoever makes the same one already is waited for.
            with self._cache.turn(key):
                since = time.time()
                found = self._cache.get(key)
                if found is None:
                    watch.cache = "miss"
                    found = _compact(self._encode(image, box, model, watch))
                    # Of another version it would be kept under this one's name.
                    self._models.must_still_be(model)
                    self._cache.put(key, found, since)
        return np.asarray(found, np.float32)

    def _encode(self, image: Image, box: CropBox, model: Manifest, watch: Stopwatch) -> Float32:
        """A model that was unloaded meanwhile is loaded again, once."""
        with watch.stage("prepare"):
            x0, y0, x1, y1 = box
            picture = to_model_input(Image(image.pixels[y0:y1, x0:x1]), model.image_side)
        with watch.stage("encode"):
            try:
                return self._encoder.encode(model, picture)
            except ModelNotLoaded:
                self._models.forget(model.variant)
                self._models.require(model.variant)
                return self._encoder.encode(model, picture)


def _compact(embedding: Float32) -> Array:
    """Half the bytes for what a graph in half precision made."""
    with np.errstate(over="ignore"):
        half = embedding.astype(np.float16)
    return half if np.array_equal(half, embedding) else embedding
