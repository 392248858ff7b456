# ruff: noqa: E501 - the constraints are spelled out, as they were on that day
"""Tables of jobs, data, prompts, results and schedules."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


PARTITIONED = ("dataset_row", "cell_result", "attempt", "score")


def upgrade() -> None:
    op.create_table(
        "attempt",
        sa.Column("bucket", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("job_id", sa.UUID(), nullable=False),
        sa.Column("endpoint", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("row", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("repeat", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("round", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("shard_id", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("latency_ms", sa.REAL(), nullable=True),
        sa.Column("status", sa.SmallInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("input_tokens", sa.Integer(), nullable=True),
        sa.Column("output_tokens", sa.Integer(), nullable=True),
        sa.Column("cost_usd", sa.Numeric(precision=20, scale=10), nullable=True),
        sa.PrimaryKeyConstraint(
            "bucket",
            "job_id",
            "endpoint",
            "row",
            "repeat",
            "round",
            "epoch",
            "number",
            name=op.f("attempt_pkey"),
        ),
        postgresql_partition_by="LIST (bucket)",
    )
    op.create_table(
        "cell_result",
        sa.Column("bucket", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("job_id", sa.UUID(), nullable=False),
        sa.Column("endpoint", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("row", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("repeat", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("round", sa.SmallInteger(), nullable=False),
        sa.Column("shard_id", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("completion", sa.Text(), nullable=True),
        sa.Column("finish_reason", sa.Text(), nullable=True),
        sa.Column("input_tokens", sa.Integer(), nullable=True),
        sa.Column("output_tokens", sa.Integer(), nullable=True),
        sa.Column("latency_ms", sa.REAL(), nullable=True),
        sa.Column("cost_usd", sa.Numeric(precision=20, scale=10), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("reused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("n_attempts", sa.SmallInteger(), nullable=False),
        sa.Column("recorded_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint(
            "outcome in ('ok', 'truncated', 'refused', 'invalid_request', 'rate_limited', 'timeout', 'provider_error', 'malformed', 'budget_skipped', 'cancelled')",
            name=op.f("cell_result_outcome_is_known"),
        ),
        sa.PrimaryKeyConstraint(
            "bucket", "job_id", "endpoint", "row", "repeat", name=op.f("cell_result_pkey")
        ),
        postgresql_partition_by="LIST (bucket)",
    )
    op.create_table(
        "dataset",
        sa.Column("key", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("dataset_pkey")),
        sa.UniqueConstraint("name", name=op.f("dataset_name_key")),
    )
    op.create_table(
        "dataset_row",
        sa.Column("bucket", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("revision_id", sa.UUID(), nullable=False),
        sa.Column("row", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("bucket", "revision_id", "row", name=op.f("dataset_row_pkey")),
        postgresql_partition_by="LIST (bucket)",
    )
    op.create_table(
        "idempotency_key",
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=True),
        sa.Column("body", sa.JSON(), nullable=True),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("route", "key", name=op.f("idempotency_key_pkey")),
    )
    op.create_index("idempotency_key_by_age", "idempotency_key", ["created_at"], unique=False)
    op.create_table(
        "prompt_template",
        sa.Column("key", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("prompt_template_pkey")),
        sa.UniqueConstraint("name", name=op.f("prompt_template_name_key")),
    )
    op.create_table(
        "recorded_completion",
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("bucket", sa.SmallInteger(), nullable=False),
        sa.Column("job_id", sa.UUID(), nullable=False),
        sa.Column("endpoint", sa.SmallInteger(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("repeat", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("request_hash", name=op.f("recorded_completion_pkey")),
    )
    op.create_table(
        "schedule",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("missed_policy", sa.Text(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("next_fire_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "missed_policy in ('skip', 'run_latest')", name=op.f("schedule_missed_policy_is_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("schedule_pkey")),
        sa.UniqueConstraint("name", name=op.f("schedule_name_key")),
    )
    op.create_index(
        "schedule_due",
        "schedule",
        ["next_fire_at"],
        unique=False,
        postgresql_where=sa.text("not paused"),
    )
    op.create_table(
        "score",
        sa.Column("bucket", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("job_id", sa.UUID(), nullable=False),
        sa.Column("endpoint", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("row", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("repeat", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("scorer", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("value", sa.DOUBLE_PRECISION(), nullable=True),
        sa.Column("unscored", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint(
            "bucket", "job_id", "endpoint", "row", "repeat", "scorer", name=op.f("score_pkey")
        ),
        postgresql_partition_by="LIST (bucket)",
    )
    op.create_table(
        "worker",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column(
            "started_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("lease_until", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("worker_pkey")),
    )
    op.create_index("worker_by_lease", "worker", ["lease_until"], unique=False)
    op.create_table(
        "dataset_revision",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("dataset_key", sa.BigInteger(), nullable=True),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("bucket", sa.SmallInteger(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("n_rows", sa.Integer(), nullable=False),
        sa.Column("columns", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["dataset_key"], ["dataset.key"], name=op.f("dataset_revision_dataset_key_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("dataset_revision_pkey")),
        sa.UniqueConstraint(
            "dataset_key", "number", name=op.f("dataset_revision_dataset_key_number_key")
        ),
    )
    op.create_index(
        "dataset_revision_by_content",
        "dataset_revision",
        ["dataset_key", "fingerprint"],
        unique=False,
    )
    op.create_table(
        "prompt_version",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("template_key", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("variables", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["template_key"], ["prompt_template.key"], name=op.f("prompt_version_template_key_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("prompt_version_pkey")),
        sa.UniqueConstraint(
            "template_key", "number", name=op.f("prompt_version_template_key_number_key")
        ),
    )
    op.create_table(
        "job",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("snapshot", sa.JSON(), nullable=False),
        sa.Column("revision_id", sa.UUID(), nullable=False),
        sa.Column("bucket", sa.SmallInteger(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default=sa.text("5"), nullable=False),
        sa.Column("round", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("n_cells", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("finished_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state in ('queued', 'running', 'paused', 'cancelling', 'completed', 'completed_with_errors', 'failed', 'cancelled')",
            name=op.f("job_state_is_known"),
        ),
        sa.ForeignKeyConstraint(
            ["revision_id"], ["dataset_revision.id"], name=op.f("job_revision_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("job_pkey")),
    )
    op.create_index(
        "job_unfinished",
        "job",
        ["state"],
        unique=False,
        postgresql_where=sa.text("finished_at is null"),
    )
    op.create_table(
        "job_event",
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("job_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column(
            "at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("job_event_job_id_fkey")),
        sa.PrimaryKeyConstraint("seq", name=op.f("job_event_pkey")),
    )
    op.create_index("job_event_by_job", "job_event", ["job_id", "seq"], unique=False)
    op.create_table(
        "shard",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("job_id", sa.UUID(), nullable=False),
        sa.Column("endpoint", sa.SmallInteger(), nullable=False),
        sa.Column("row_from", sa.Integer(), nullable=False),
        sa.Column("row_to", sa.Integer(), nullable=False),
        sa.Column("repeat_from", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("repeat_to", sa.SmallInteger(), nullable=False),
        sa.Column("rows", postgresql.ARRAY(sa.Integer()), nullable=True),
        sa.Column("repeats", postgresql.ARRAY(sa.SmallInteger()), nullable=True),
        sa.Column("round", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("n_cells", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("claims", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("owner", sa.UUID(), nullable=True),
        sa.Column("published_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column(
            "not_before",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("finished_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("n_ok", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("n_truncated", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("n_refused", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("n_invalid_request", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("n_rate_limited", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("n_timeout", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("n_provider_error", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("n_malformed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("n_budget_skipped", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("n_cancelled", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("n_reused", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("n_calls", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("n_calls_unknown", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "cost_usd",
            sa.Numeric(precision=20, scale=10),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column("n_cost_unknown", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint(
            "state in ('queued', 'running', 'done', 'dead', 'cancelled')",
            name=op.f("shard_state_is_known"),
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("shard_job_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("shard_pkey")),
        postgresql_with={"fillfactor": 70},
    )
    op.create_index("shard_by_job", "shard", ["job_id", "state"], unique=False)
    op.create_index(
        "shard_by_owner",
        "shard",
        ["owner"],
        unique=False,
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index(
        "shard_ready",
        "shard",
        ["priority", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_table(
        "slot",
        sa.Column("schedule_id", sa.UUID(), nullable=False),
        sa.Column("fire_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("job_id", sa.UUID(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column(
            "decided_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "state in ('fired', 'missed', 'failed')", name=op.f("slot_state_is_known")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("slot_job_id_fkey")),
        sa.ForeignKeyConstraint(
            ["schedule_id"], ["schedule.id"], name=op.f("slot_schedule_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("schedule_id", "fire_at", name=op.f("slot_pkey")),
    )
    op.create_table(
        "tracking",
        sa.Column("job_id", sa.UUID(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "next_try_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("synced_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("state in ('pending', 'synced')", name=op.f("tracking_state_is_known")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("tracking_job_id_fkey")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("tracking_pkey")),
    )
    op.create_index(
        "tracking_due",
        "tracking",
        ["next_try_at"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )
    for table in PARTITIONED:
        op.execute(f"create table {table}_b0 partition of {table} for values in (0)")


def downgrade() -> None:
    op.drop_index(
        "tracking_due", table_name="tracking", postgresql_where=sa.text("state = 'pending'")
    )
    op.drop_table("tracking")
    op.drop_table("slot")
    op.drop_index("shard_ready", table_name="shard", postgresql_where=sa.text("state = 'queued'"))
    op.drop_index(
        "shard_by_owner", table_name="shard", postgresql_where=sa.text("state = 'running'")
    )
    op.drop_index("shard_by_job", table_name="shard")
    op.drop_table("shard")
    op.drop_index("job_event_by_job", table_name="job_event")
    op.drop_table("job_event")
    op.drop_index(
        "job_unfinished", table_name="job", postgresql_where=sa.text("finished_at is null")
    )
    op.drop_table("job")
    op.drop_table("prompt_version")
    op.drop_index("dataset_revision_by_content", table_name="dataset_revision")
    op.drop_table("dataset_revision")
    op.drop_index("worker_by_lease", table_name="worker")
    op.drop_table("worker")
    op.drop_table("score")
    op.drop_index("schedule_due", table_name="schedule", postgresql_where=sa.text("not paused"))
    op.drop_table("schedule")
    op.drop_table("recorded_completion")
    op.drop_table("prompt_template")
    op.drop_index("idempotency_key_by_age", table_name="idempotency_key")
    op.drop_table("idempotency_key")
    op.drop_table("dataset_row")
    op.drop_table("dataset")
    op.drop_table("cell_result")
    op.drop_table("attempt")
