import threading
from dataclasses import replace

import pytest

from orchestrator.domain.errors import ModelMissing, NotFound, Unavailable
from orchestrator.usecases import models as models_module
from orchestrator.usecases.models import Models
from tests.fakes import MANIFEST, FakeEncoder, FakeRepository


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
def models(encoder: FakeEncoder) -> Models:
    return Models(encoder.repository, encoder)


def test_a_model_that_is_not_loaded_is_loaded_on_demand_once(models: Models, encoder: FakeEncoder) -> None:
    threads = [threading.Thread(target=models.require, args=["tiny"]) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert encoder.loads == ["tiny"]
    assert models.status("tiny").state == "loaded"


def test_a_model_that_takes_long_to_load_is_unavailable_meanwhile(
    models: Models, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models_module, "PATIENCE_SECONDS", 0.05)
    loaded, load = threading.Event(), encoder.load
    monkeypatch.setattr(encoder, "load", lambda name: (loaded.wait(5), load(name)))
    with pytest.raises(Unavailable, match="loading") as caught:
        models.require("tiny")
    assert caught.value.retry_after > 0
    assert models.status("tiny").state == "loading"
    loaded.set()
    models.load("tiny")
    assert models.require("tiny") == MANIFEST


def test_an_encoder_of_another_version_than_the_decoder_is_never_used(models: Models, encoder: FakeEncoder) -> None:
    encoder.versions["tiny"] = "v0"
    with pytest.raises(Unavailable, match=r"v0.*v1.*/models/tiny/load"):
        models.require("tiny")
    assert models.status("tiny").state == "outdated"
    models.load("tiny")
    assert models.require("tiny").version == "v1"


def test_a_model_that_was_published_anew_is_checked_anew(models: Models, encoder: FakeEncoder) -> None:
    models.require("tiny")
    encoder.repository.manifests["tiny"] = replace(MANIFEST, version="v2")
    with pytest.raises(Unavailable, match=r"v1.*v2"):
        models.require("tiny")


def test_a_known_model_that_is_not_in_the_repository_names_the_command_that_makes_it(models: Models) -> None:
    with pytest.raises(ModelMissing, match="python -m export vit_h"):
        models.require("vit_h")
    assert models.status("vit_h").state == "missing"


@pytest.mark.parametrize("name", ["sam3", "", "../tiny"])
def test_an_unknown_name_is_not_found(models: Models, name: str) -> None:
    with pytest.raises(NotFound, match="vit_b"):
        models.require(name)


def test_a_check_tells_what_stands_in_the_way_of_the_next_request(models: Models, encoder: FakeEncoder) -> None:
    models.check("tiny")
    encoder.versions["tiny"] = "v0"
    with pytest.raises(Unavailable, match="v0"):
        models.check("tiny")
    with pytest.raises(ModelMissing):
        models.check("vit_b")


def test_a_load_that_failed_is_told_until_the_model_is_there(
    models: Models, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> None:
        raise Unavailable("broken")

    with monkeypatch.context() as broken:
        broken.setattr(encoder, "load", fail)
        with pytest.raises(Unavailable):
            models.load("tiny")
    with pytest.raises(Unavailable, match="broken"):
        models.check("tiny")
    encoder.load("tiny")  # somebody else did
    models.check("tiny")


def test_a_model_that_was_replaced_during_the_work_is_noticed(models: Models, encoder: FakeEncoder) -> None:
    model = models.require("tiny")
    models.must_still_be(model)
    encoder.repository.manifests["tiny"] = replace(MANIFEST, version="v2")
    with pytest.raises(Unavailable, match="replaced"):
        models.must_still_be(model)


def test_unloading_takes_the_model_away_until_the_next_request(models: Models, encoder: FakeEncoder) -> None:
    models.require("tiny")
    assert models.unload("tiny").state == "not_loaded"
    models.require("tiny")
    assert encoder.loads == ["tiny", "tiny"]


def test_all_variants_and_further_models_are_listed() -> None:
    repository = FakeRepository({"tiny": MANIFEST, "mine": replace(MANIFEST, variant="mine")})
    states = {entry.name: entry.state for entry in Models(repository, FakeEncoder(repository)).list()}
    assert states == {
        "tiny": "not_loaded",
        "vit_b": "missing",
        "vit_l": "missing",
        "vit_h": "missing",
        "mine": "not_loaded",
    }


def test_a_load_that_fails_says_so_and_may_be_tried_again(models: Models, encoder: FakeEncoder) -> None:
    encoder.down = True
    with pytest.raises(Unavailable):
        models.load("tiny")
    encoder.down = False
    assert models.load("tiny").state == "loaded"
