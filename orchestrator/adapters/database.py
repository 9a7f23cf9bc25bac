"""The database by SQLModel: SQLite or PostgreSQL, their connections, their schema, and the rows of pictures."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, DateTime, Dialect, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.types import TypeDecorator
from sqlmodel import Column, Field, Session, SQLModel, col, select

from orchestrator.domain.errors import Unavailable
from orchestrator.usecases.ports.state import StoredImage

MIGRATIONS = Path(__file__).parent.parent / "migrations"
LOCK_SECONDS = 10
CONNECT_SECONDS = 5
STATEMENT_SECONDS = 30
CONNECTIONS = 10
"""Kept open by a process on PostgreSQL; as many more under load."""


class Utc(TypeDecorator[datetime]):
    """A time with its zone. SQLite forgets it; all times are UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value and (value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC))


class ImageRow(SQLModel, table=True):
    __tablename__ = "images"

    id: str = Field(primary_key=True)
    owner: str
    content: str = Field(index=True)
    path: str
    width: int
    height: int
    bytes: int
    created_at: datetime = Field(sa_column=Column(Utc, nullable=False, index=True))


def connect(url: str) -> Engine:
    """An engine on SQLite or PostgreSQL; nothing is opened yet. Raises `Unavailable` for any other."""
    try:
        address = make_url(url)
    except ArgumentError as exc:
        raise Unavailable("DATABASE_URL is no address of a database.") from exc
    match address.get_backend_name():
        case "sqlite":
            return _sqlite(address)
        case "postgresql":
            return _postgresql(address)
        case other:
            raise Unavailable(f"DATABASE_URL names {other}; SQLite and PostgreSQL are served.")


def missing_file(url: str) -> Path | None:
    """The file of an SQLite database that has not been made; connecting would make an empty one."""
    address = make_url(url)
    path = Path(address.database or "")
    return path if address.get_backend_name() == "sqlite" and not path.is_file() else None


def _sqlite(address: URL) -> Engine:
    """It writes ahead, so that readers do not wait for writers; what is committed outlives a power cut."""
    engine = create_engine(address, connect_args={"timeout": LOCK_SECONDS})

    @event.listens_for(engine, "connect")
    def _prepare(connection: ConnectionPoolEntry, _: object) -> None:
        # The driver's own transaction handling would commit and begin behind SQLAlchemy's back.
        connection.isolation_level = None  # type: ignore[attr-defined]
        cursor = connection.cursor()  # type: ignore[attr-defined]
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        mode = "IMMEDIATE" if connection.get_execution_options().get("exclusive") else "DEFERRED"
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


def _postgresql(address: URL) -> Engine:
    """Every wait has a bound; a connection that died with the server is noticed before it is used."""
    limits = f"-c statement_timeout={STATEMENT_SECONDS}s -c lock_timeout={LOCK_SECONDS}s"
    try:
        return create_engine(
            address.set(drivername="postgresql+psycopg"),
            connect_args={"connect_timeout": CONNECT_SECONDS, "options": limits},
            pool_pre_ping=True,
            pool_size=CONNECTIONS,
            max_overflow=CONNECTIONS,
            pool_timeout=LOCK_SECONDS,
        )
    except (NoSuchModuleError, ImportError) as exc:
        raise Unavailable("DATABASE_URL names PostgreSQL, whose driver (psycopg) is not installed.") from exc


@contextmanager
def writing(engine: Engine, lock: str | None = None) -> Iterator[Session]:
    """A transaction that writes; with `lock`, no other of that lock runs beside it. Raises `Unavailable`.

    SQLite has one writer at a time anyway, which has to say so before it reads.
    """
    engine = engine.execution_options(exclusive=True)
    with translated(), Session(engine, expire_on_commit=False) as session, session.begin():
        session.connection()  # the transaction begins here
        if lock is not None and engine.dialect.name == "postgresql":
            session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:lock, 0))"), {"lock": lock})
        yield session


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest revision. Raises `Unavailable`."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with writing(engine, lock="migrations") as session:
        config.attributes["connection"] = session.connection()
        command.upgrade(config, "head")


def check(engine: Engine) -> None:
    """Raises `Unavailable` if the database does not answer."""
    with translated(), engine.connect() as connection:
        connection.execute(text("SELECT 1"))


class SqlImageRows:
    """`ImageRows` on an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, image_id: str) -> StoredImage | None:
        with translated(), Session(self._engine) as session:
            row = session.get(ImageRow, image_id)
            return _stored(row) if row else None

    def older_than(self, time: datetime, most: int) -> list[StoredImage]:
        created = col(ImageRow.created_at)
        with translated(), Session(self._engine) as session:
            asked = select(ImageRow).where(created < time).order_by(created).limit(most)
            return [_stored(row) for row in session.exec(asked)]

    @contextmanager
    def exclusive(self, content: str) -> Iterator["SqlContentRows"]:
        with writing(self._engine, lock=f"content {content}") as session:
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
    return StoredImage(**row.model_dump())


@contextmanager
def translated() -> Iterator[None]:
    """The one seam between the database's errors and ours."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as exc:
        raise Unavailable("The database does not answer; try again in a moment.") from exc
