"""What the gateway was used for."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"

TIME = postgresql.TIMESTAMP(timezone=True)
USD = sa.Numeric(precision=20, scale=10)


def _sum(name: str, kind: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    return sa.Column(name, kind, server_default=sa.text("0"), nullable=False)


def upgrade() -> None:
    op.create_table(
        "usage_hour",
        sa.Column("hour", TIME, nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        _sum("calls", sa.BigInteger()),
        _sum("attempts", sa.BigInteger()),
        _sum("cached", sa.BigInteger()),
        _sum("streamed", sa.BigInteger()),
        _sum("input_tokens", sa.BigInteger()),
        _sum("output_tokens", sa.BigInteger()),
        _sum("seconds", postgresql.DOUBLE_PRECISION()),
        _sum("cost_usd", USD),
        _sum("n_cost_unknown", sa.BigInteger()),
        sa.PrimaryKeyConstraint(
            "hour", "endpoint", "caller", "outcome", name=op.f("usage_hour_pkey")
        ),
    )
    op.create_table(
        "usage_call",
        sa.Column("at", TIME, nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("asked", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=True),
        sa.Column("input_tokens", sa.Integer(), nullable=True),
        sa.Column("output_tokens", sa.Integer(), nullable=True),
        sa.Column("cost_usd", USD, nullable=True),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("seconds", sa.REAL(), nullable=False),
        sa.Column("provider_seconds", sa.REAL(), nullable=False),
        sa.Column("first_byte_seconds", sa.REAL(), nullable=True),
        sa.Column("streamed", sa.Boolean(), nullable=False),
        sa.Column("cached", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("at", "request_id", name=op.f("usage_call_pkey")),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_index(
        "shard_by_finish",
        "shard",
        ["finished_at"],
        postgresql_where=sa.text("finished_at is not null"),
    )


def downgrade() -> None:
    op.drop_index("shard_by_finish", table_name="shard")
    op.drop_table("usage_call")
    op.drop_table("usage_hour")
