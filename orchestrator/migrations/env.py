"""Alembic's entry. The service hands over its connection; on the command line (`alembic upgrade head`) DATABASE_URL
says where to."""

from alembic import context
from sqlalchemy import Connection
from sqlmodel import SQLModel

from orchestrator.adapters import database, job_rows  # noqa: F401 - the tables as the code has them
from orchestrator.settings import read


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=SQLModel.metadata,
        render_as_batch=True,  # SQLite alters a table by copying it
    )
    context.run_migrations()


if "connection" in context.config.attributes:
    run(context.config.attributes["connection"])
else:
    with database.writing(database.connect(read().database_url.get_secret_value()), lock="migrations") as session:
        run(session.connection())
