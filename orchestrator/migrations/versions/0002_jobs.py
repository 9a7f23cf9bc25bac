"""Jobs: what was promised, and what has become of it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("task", sa.JSON(), nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("expires_at", time, nullable=False),
        sa.Column("due_at", time, nullable=False),
        sa.Column("rank", time, nullable=False),
        sa.Column("priority", sa.String(), nullable=False),
        sa.Column("name", sa.String()),
        sa.Column("image_id", sa.String()),
        sa.Column("picture", sa.String()),
        sa.Column("parent_id", sa.String()),
        sa.Column("position", sa.Integer()),
        sa.Column("admitted", sa.Boolean(), nullable=False),
        sa.Column("progress", sa.Float(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String()),
        sa.Column("lease_until", time),
        sa.Column("attempt_at", time),
        sa.Column("started_at", time),
        sa.Column("ended_at", time),
        sa.Column("error", sa.String()),
        sa.Column("detail", sa.String()),
        sa.Column("summary", sa.JSON()),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("idempotency_key", sa.String()),
        sa.Column("fingerprint", sa.String()),
        sa.Column("callback_url", sa.String()),
        sa.Column("callback_due_at", time),
        sa.Column("callback_tries", sa.Integer(), nullable=False),
        sa.UniqueConstraint("owner", "idempotency_key", name="uq_jobs_idempotency"),
    )
    op.create_index("ix_jobs_queue", "jobs", ["status", "rank"])
    op.create_index("ix_jobs_parent", "jobs", ["parent_id", "position"])
    op.create_index("ix_jobs_owner", "jobs", ["owner", "created_at"])
    op.create_index("ix_jobs_picture", "jobs", ["picture"])
    op.create_index("ix_jobs_callback", "jobs", ["callback_due_at"])


def downgrade() -> None:
    op.drop_table("jobs")
