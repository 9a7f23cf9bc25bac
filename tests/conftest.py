"""Real parts, started once for all tests that need them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from segment_anything.modeling import Sam

from export import checkpoint
from orchestrator import bootstrap
from orchestrator.bootstrap import Services
from orchestrator.local.triton import TritonAddresses
from orchestrator.settings import Settings
from tests.local.servers import running_triton

REPOSITORY = Path(__file__).parent.parent / "model_repository"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this shell has set must not decide whether a test passes."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", None)


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonAddresses]:
    """A real Triton that serves the repository's models."""
    with running_triton(REPOSITORY, tmp_path_factory.mktemp("triton"), ["tiny"]) as addresses:
        yield addresses


@pytest.fixture(scope="session")
def sam() -> Sam:
    """The official model with tiny's weights."""
    return checkpoint.load("tiny")


@pytest.fixture
def settings(tmp_path: Path, triton: TritonAddresses) -> Settings:
    return Settings(
        triton_url=triton.grpc,
        model_repository=REPOSITORY,
        database_url=f"sqlite:///{tmp_path}/quarry.db",  # type: ignore[arg-type]
        upload_dir=tmp_path / "uploads",
    )


@pytest.fixture
def services(settings: Settings) -> Services:
    return bootstrap.services(settings)


@pytest.fixture
def plain_environment(tmp_path: Path) -> dict[str, str]:
    """For processes of the project: this environment without the project's settings."""
    names = {name.upper() for name in Settings.model_fields}
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return kept | {"MODEL_REPOSITORY": str(REPOSITORY), "XDG_DATA_HOME": str(tmp_path)}
