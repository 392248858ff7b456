"""Budgets, reservations and estimates."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

TIME = postgresql.TIMESTAMP(timezone=True)
USD = sa.Numeric(20, 10)


def upgrade() -> None:
    op.create_table(
        "budget",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("limit_usd", USD, nullable=False),
        sa.Column("spent_usd", USD, server_default=sa.text("0"), nullable=False),
        sa.Column("reserved_usd", USD, server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind in ('job', 'project')", name=op.f("budget_kind_is_known")),
        sa.CheckConstraint("limit_usd >= 0", name=op.f("budget_limit_is_money")),
        sa.CheckConstraint("reserved_usd >= 0", name=op.f("budget_reserved_is_money")),
        sa.PrimaryKeyConstraint("kind", "owner", name=op.f("budget_pkey")),
    )
    op.create_table(
        "reservation",
        sa.Column("shard_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("job_id", sa.UUID(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("of_job", sa.Boolean(), nullable=False),
        sa.Column("of_project", sa.Boolean(), nullable=False),
        sa.Column("worker", sa.UUID(), nullable=False),
        sa.Column("usd", USD, nullable=False),
        sa.Column("spent_usd", USD, server_default=sa.text("0"), nullable=False),
        sa.Column("unknown_usd", USD, server_default=sa.text("0"), nullable=False),
        sa.Column("released_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("shard_id", "epoch", name=op.f("reservation_pkey")),
    )
    op.create_index(
        "reservation_open",
        "reservation",
        ["worker"],
        postgresql_where=sa.text("released_at is null"),
    )
    op.create_index("reservation_by_job", "reservation", ["job_id"])
    op.create_table(
        "in_flight_completion",
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("shard_id", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("request_hash", name=op.f("in_flight_completion_pkey")),
    )
    op.create_index("in_flight_completion_by_shard", "in_flight_completion", ["shard_id"])
    op.create_table(
        "job_estimate",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("pilot_job_id", sa.UUID(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["pilot_job_id"], ["job.id"], name=op.f("job_estimate_pilot_job_id_fkey")
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("job_estimate_pkey")),
    )
    op.add_column("attempt", sa.Column("reserved_usd", USD, nullable=True))
    op.add_column("job", sa.Column("estimate", sa.JSON(), nullable=True))
    op.add_column("job", sa.Column("paused_for", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("job", "paused_for")
    op.drop_column("job", "estimate")
    op.drop_column("attempt", "reserved_usd")
    op.drop_table("job_estimate")
    op.drop_table("in_flight_completion")
    op.drop_table("reservation")
    op.drop_table("budget")
