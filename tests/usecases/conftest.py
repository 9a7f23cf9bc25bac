"""The database and the files are real ones: there is nothing to gain from fakes of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.adapters import database
from orchestrator.adapters.job_rows import SqlJobRows
from orchestrator.adapters.result_files import FolderResultFiles
from orchestrator.domain.errors import Unavailable
from orchestrator.domain.image import Limits
from orchestrator.usecases.automatic import Automatic
from orchestrator.usecases.embeddings import Embeddings
from orchestrator.usecases.images import Images
from orchestrator.usecases.models import Models
from orchestrator.usecases.segment import Segment
from tests.fakes import FakeCache, FakeDecoder, FakeEncoder, FakeFiles, FakeRows


@dataclass
class CountingDoorbell:
    """Counts its rings; nobody answers them."""

    rings: int = 0
    down: bool = False
    asked: list[int] = field(default_factory=list)

    def ring(self, times: int = 1) -> None:
        self.check()
        self.rings += times

    def unanswered(self) -> int:
        self.check()
        return self.rings

    def must_exist(self) -> None:
        pass

    def check(self) -> None:
        if self.down:
            raise Unavailable("Redis is away.")


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[SqlJobRows]:
    engine = database.connect(f"sqlite:///{tmp_path}/quarry.db")
    database.migrate(engine)
    yield SqlJobRows(engine)
    engine.dispose()


@pytest.fixture
def files(tmp_path: Path) -> FolderResultFiles:
    return FolderResultFiles(tmp_path / "results")


@pytest.fixture
def images() -> Images:
    return Images(FakeRows(), FakeFiles(), Limits())


@pytest.fixture
def doorbell() -> CountingDoorbell:
    return CountingDoorbell()


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
def decoder() -> FakeDecoder:
    return FakeDecoder()


@pytest.fixture
def segment(encoder: FakeEncoder, decoder: FakeDecoder) -> Segment:
    models = Models(encoder.repository, encoder)
    return Segment(models, Embeddings(models, encoder, FakeCache()), decoder)


@pytest.fixture
def automatic(encoder: FakeEncoder, decoder: FakeDecoder, segment: Segment) -> Automatic:
    return Automatic(Models(encoder.repository, encoder), decoder, segment, workers=2)
