"""The database by SQLModel."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, DateTime, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry
from sqlmodel import Column, Field, Session, SQLModel, select

from orchestrator.domain.errors import Unavailable
from orchestrator.usecases.ports import StoredImage

MIGRATIONS = Path(__file__).parent.parent / "migrations"
LOCK_SECONDS = 10


class ImageRow(SQLModel, table=True):
    __tablename__ = "images"

    id: str = Field(primary_key=True)
    owner: str
    content: str = Field(index=True)
    path: str
    width: int
    height: int
    bytes: int
    created_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))


def connect(url: str) -> Engine:
    """An engine on SQLite; nothing is opened yet. It writes ahead, so that readers do not wait for writers."""
    if make_url(url).get_backend_name() != "sqlite":
        raise Unavailable(f"DATABASE_URL names {make_url(url).get_backend_name()}; SQLite is what there is so far.")
    engine = create_engine(url, connect_args={"timeout": LOCK_SECONDS})

    @event.listens_for(engine, "connect")
    def _prepare(connection: ConnectionPoolEntry, _: object) -> None:
        # The driver's own transaction handling would commit and begin behind SQLAlchemy's back.
        connection.isolation_level = None  # type: ignore[attr-defined]
        cursor = connection.cursor()  # type: ignore[attr-defined]
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        mode = "IMMEDIATE" if connection.get_execution_options().get("exclusive") else "DEFERRED"
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest revision. Raises `Unavailable`."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with _translated(), engine.execution_options(exclusive=True).begin() as connection:
        config.attributes |= {"connection": connection, "metadata": SQLModel.metadata}
        command.upgrade(config, "head")


def check(engine: Engine) -> None:
    """Raises `Unavailable` if the database does not answer."""
    with _translated(), engine.connect() as connection:
        connection.execute(text("SELECT 1"))


class SqlImageRows:
    """`ImageRows` on an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, image_id: str) -> StoredImage | None:
        with _translated(), Session(self._engine) as session:
            row = session.get(ImageRow, image_id)
            return _stored(row) if row else None

    @contextmanager
    def exclusive(self, content: str) -> Iterator["SqlContentRows"]:
        engine = self._engine.execution_options(exclusive=True)
        with _translated(), Session(engine) as session, session.begin():
            session.connection()  # the transaction begins, and locks, here
            yield SqlContentRows(session, content)


class SqlContentRows:
    """`ContentRows` in one transaction."""

    def __init__(self, session: Session, content: str) -> None:
        self._session = session
        self._content = content

    def any(self) -> StoredImage | None:
        row = self._session.exec(select(ImageRow).where(ImageRow.content == self._content)).first()
        return _stored(row) if row else None

    def add(self, image: StoredImage) -> None:
        self._session.add(ImageRow(**vars(image)))
        self._session.flush()

    def remove(self, image_id: str) -> None:
        row = self._session.get(ImageRow, image_id)
        if row:
            self._session.delete(row)
            self._session.flush()


def _stored(row: ImageRow) -> StoredImage:
    # SQLite forgets the time zone; all times are UTC.
    return StoredImage(**(row.model_dump() | {"created_at": row.created_at.replace(tzinfo=UTC)}))


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as exc:
        raise Unavailable("The database does not answer; try again in a moment.") from exc
