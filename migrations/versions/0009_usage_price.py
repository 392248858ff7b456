"""At which price each single call of the usage was reckoned."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "usage_price",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("input_usd_per_million_tokens", sa.Numeric(), nullable=True),
        sa.Column("output_usd_per_million_tokens", sa.Numeric(), nullable=True),
        sa.Column("cached_input_usd_per_million_tokens", sa.Numeric(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("usage_price_pkey")),
    )
    op.add_column("usage_call", sa.Column("price_id", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("usage_call", "price_id")
    op.drop_table("usage_price")
