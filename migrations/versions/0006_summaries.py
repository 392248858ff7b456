"""Mergeable summaries of shards, and the book of buckets."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"

TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "shard_summary",
        sa.Column("shard_id", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.UUID(), nullable=False),
        sa.Column("stale", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("rows", sa.LargeBinary(), nullable=True),
        sa.Column("latencies", sa.LargeBinary(), nullable=True),
        sa.Column("scores", postgresql.ARRAY(sa.LargeBinary()), nullable=True),
        sa.ForeignKeyConstraint(["shard_id"], ["shard.id"], name="shard_summary_shard_id_fkey"),
        sa.PrimaryKeyConstraint("shard_id", name="shard_summary_pkey"),
    )
    op.create_index("shard_summary_by_job", "shard_summary", ["job_id"])
    op.create_index(
        "shard_summary_stale",
        "shard_summary",
        ["shard_id"],
        postgresql_where=sa.text("stale"),
    )
    op.create_table(
        "bucket",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("opened_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("closed_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="bucket_pkey"),
    )
    op.execute("insert into bucket (id) values (0)")
    # Shards that ended before there were summaries: the sweep makes theirs.
    op.execute(
        "insert into shard_summary (shard_id, job_id, stale)"
        " select id, job_id, true from shard where state = 'done'"
    )


def downgrade() -> None:
    op.drop_table("bucket")
    op.drop_index(
        "shard_summary_stale", table_name="shard_summary", postgresql_where=sa.text("stale")
    )
    op.drop_index("shard_summary_by_job", table_name="shard_summary")
    op.drop_table("shard_summary")
