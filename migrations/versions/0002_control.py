"""Pausing, extending, projects and fair shares."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "project",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("weight", sa.Double(), server_default=sa.text("1"), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("weight > 0", name=op.f("project_weight_is_positive")),
        sa.PrimaryKeyConstraint("name", name=op.f("project_pkey")),
    )
    op.execute("insert into project (name) values ('default')")
    op.add_column(
        "job", sa.Column("project", sa.Text(), server_default=sa.text("'default'"), nullable=False)
    )
    op.add_column(
        "job",
        sa.Column("owes_scores", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.add_column("job", sa.Column("served_at", TIME, nullable=True))
    op.create_index("job_by_project", "job", ["project", "id"])
    op.add_column(
        "shard", sa.Column("kind", sa.Text(), server_default=sa.text("'ask'"), nullable=False)
    )
    op.create_check_constraint(op.f("shard_kind_is_known"), "shard", "kind in ('ask', 'score')")
    _order_ready_shards("job_id", "id")


def downgrade() -> None:
    _order_ready_shards("priority", "id")
    op.drop_column("shard", "kind")
    op.drop_index("job_by_project", table_name="job")
    op.drop_column("job", "served_at")
    op.drop_column("job", "owes_scores")
    op.drop_column("job", "project")
    op.drop_table("project")


def _order_ready_shards(*columns: str) -> None:
    op.drop_index("shard_ready", table_name="shard")
    op.create_index(
        "shard_ready", "shard", list(columns), postgresql_where=sa.text("state = 'queued'")
    )
