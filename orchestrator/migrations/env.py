"""Alembic's entry: the caller hands over its connection and the tables as the code has them."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes["metadata"],
    render_as_batch=True,  # SQLite alters a table by copying it
)
context.run_migrations()
