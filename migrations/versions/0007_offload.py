"""Calls handed over to the batch APIs of vendors."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"

TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "offload",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("job_id", sa.UUID(), nullable=False),
        sa.Column("endpoint", sa.SmallInteger(), nullable=False),
        sa.Column("shards", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'planned'"), nullable=False),
        sa.Column("vendor_id", sa.Text(), nullable=True),
        sa.Column(
            "not_ours", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column("n_requests", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("deadline", TIME, nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("handed_over_at", TIME, nullable=True),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("next_step_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("n_steps", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state in ('planned', 'handing_over', 'running', 'ended', 'given_up')",
            name=op.f("offload_state_is_known"),
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("offload_job_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("offload_pkey")),
    )
    op.create_index(
        "offload_due",
        "offload",
        ["next_step_at"],
        postgresql_where=sa.text("state not in ('ended', 'given_up')"),
    )
    op.create_index("offload_by_job", "offload", ["job_id"])


def downgrade() -> None:
    op.drop_table("offload")
