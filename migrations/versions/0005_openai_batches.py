"""Files and batches of the OpenAI Batch API, and whole answers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"

TIME = postgresql.TIMESTAMP(timezone=True)
STATES = (
    "'validating', 'failed', 'in_progress', 'finalizing', 'completed', 'expired', 'cancelling',"
    " 'cancelled'"
)
PATHS = "'/v1/chat/completions', '/v1/completions', '/v1/embeddings', '/v1/responses'"
PARTITIONED = ("cell_response", "file_chunk")


def upgrade() -> None:
    op.create_table(
        "cell_response",
        sa.Column("bucket", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("job_id", sa.UUID(), nullable=False),
        sa.Column("endpoint", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("row", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("repeat", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(
            "bucket", "job_id", "endpoint", "row", "repeat", name=op.f("cell_response_pkey")
        ),
        postgresql_partition_by="LIST (bucket)",
    )
    op.create_table(
        "file",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("bucket", sa.SmallInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("n_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("file_pkey")),
    )
    op.create_index(
        "file_by_expiry",
        "file",
        ["expires_at"],
        postgresql_where=sa.text("expires_at is not null"),
    )
    op.create_table(
        "file_chunk",
        sa.Column("bucket", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("file_id", sa.UUID(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("bucket", "file_id", "number", name=op.f("file_chunk_pkey")),
        postgresql_partition_by="LIST (bucket)",
    )
    _create_batch()
    for table in PARTITIONED:
        op.execute(f"create table {table}_b0 partition of {table} for values in (0)")


def _create_batch() -> None:
    op.create_table(
        "batch",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("window", sa.Text(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=True),
        sa.Column("input_file_id", sa.UUID(), nullable=False),
        sa.Column("output_file_id", sa.UUID(), nullable=True),
        sa.Column("error_file_id", sa.UUID(), nullable=True),
        sa.Column("output_lifetime", sa.Integer(), nullable=True),
        sa.Column("job_id", sa.UUID(), nullable=True),
        sa.Column("errors", sa.JSON(), nullable=True),
        *(
            sa.Column(name, sa.Integer(), server_default=sa.text("0"), nullable=False)
            for name in ("n_total", "n_completed", "n_failed")
        ),
        sa.Column("usage", sa.JSON(), nullable=True),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        *(
            sa.Column(f"{what}_at", TIME, nullable=True)
            for what in (
                "in_progress", "expiring", "cancelling", "finalizing", "ended", "hinted",
            )
        ),
        sa.Column("n_faults", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint(f"state in ({STATES})", name=op.f("batch_state_is_known")),
        sa.CheckConstraint(f"path in ({PATHS})", name=op.f("batch_path_is_known")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("batch_job_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("batch_pkey")),
    )  # fmt: skip
    op.create_index("batch_open", "batch", ["id"], postgresql_where=sa.text("ended_at is null"))


def downgrade() -> None:
    for table in ("batch", *PARTITIONED, "file"):
        op.drop_table(table)
