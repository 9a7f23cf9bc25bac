import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from orchestrator.adapters.memory_cache import MemoryCache
from orchestrator.domain.errors import Unavailable
from orchestrator.domain.geometry import ModelInput
from orchestrator.domain.image import Image
from orchestrator.domain.model import Manifest
from orchestrator.usecases.embeddings import Embeddings
from orchestrator.usecases.models import Models
from orchestrator.usecases.ports.engines import Float32
from orchestrator.usecases.stopwatch import Stopwatch
from tests.fakes import MANIFEST, FakeEncoder
from tests.pictures import draw

IMAGE = Image(draw(40, 60))


class SlowEncoder(FakeEncoder):
    """Waits in the midst of its work until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()

    def encode(self, model: Manifest, picture: ModelInput) -> Float32:
        self.begun.set()
        self.go_on.wait(10)
        return super().encode(model, picture)


@pytest.fixture
def encoder() -> SlowEncoder:
    return SlowEncoder()


@pytest.fixture
def cache() -> MemoryCache:
    return MemoryCache(1 << 20, 60)


@pytest.fixture
def embeddings(encoder: SlowEncoder, cache: MemoryCache) -> Embeddings:
    models = Models(encoder.repository, encoder)
    models.require("tiny")
    return Embeddings(models, encoder, cache)


def get(embeddings: Embeddings, image: Image = IMAGE, crop: tuple[int, int, int, int] | None = None) -> Float32:
    return embeddings.get(image, MANIFEST, Stopwatch(), crop)


def test_those_who_miss_together_encode_once_and_get_the_same(embeddings: Embeddings, encoder: SlowEncoder) -> None:
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(get, embeddings) for _ in range(8)]
        encoder.begun.wait(10)
        time.sleep(0.1)
        encoder.go_on.set()
        answers = [future.result() for future in asked]
    assert encoder.encodings == 1
    assert all(np.array_equal(answer, answers[0]) for answer in answers)


def test_hit_and_miss_give_one_answer(embeddings: Embeddings, encoder: SlowEncoder) -> None:
    encoder.go_on.set()
    missed, hit = Stopwatch(), Stopwatch()
    first = embeddings.get(IMAGE, MANIFEST, missed)
    second = embeddings.get(IMAGE, MANIFEST, hit)
    assert np.array_equal(first, second)
    assert (missed.cache, hit.cache) == ("miss", "hit")


def test_each_crop_picture_and_version_has_an_embedding_of_its_own(
    embeddings: Embeddings, encoder: SlowEncoder
) -> None:
    encoder.go_on.set()
    for _ in range(2):
        get(embeddings)
        get(embeddings, crop=(0, 0, 60, 40))  # all of it
        get(embeddings, crop=(0, 0, 30, 40))
        get(embeddings, Image(draw(40, 60, seed=1)))
    assert encoder.encodings == 3


def test_who_waited_for_one_that_failed_tries_itself(embeddings: Embeddings, encoder: SlowEncoder) -> None:
    with ThreadPoolExecutor(2) as threads:
        encoder.down = True
        asked = [threads.submit(get, embeddings) for _ in range(2)]
        encoder.begun.wait(10)
        encoder.go_on.set()
        for future in asked:
            with pytest.raises(Unavailable):
                future.result()
    encoder.down = False
    assert get(embeddings).shape == MANIFEST.embedding_shape


def test_a_picture_that_was_forgotten_while_it_was_encoded_is_not_kept(
    embeddings: Embeddings, encoder: SlowEncoder, cache: MemoryCache
) -> None:
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(get, embeddings)
        encoder.begun.wait(10)
        cache.forget(IMAGE.content)
        encoder.go_on.set()
        asked.result()
    get(embeddings)
    assert encoder.encodings == 2


def test_what_another_version_made_is_not_kept_under_this_ones_name(
    embeddings: Embeddings, encoder: SlowEncoder
) -> None:
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(get, embeddings)
        encoder.begun.wait(10)
        encoder.repository.manifests["tiny"] = replace(MANIFEST, version="v2")
        encoder.go_on.set()
        with pytest.raises(Unavailable, match="replaced"):
            asked.result()
    encoder.repository.manifests["tiny"] = MANIFEST
    get(embeddings)
    assert encoder.encodings == 2
