"""Mergeable summaries of shards, and the book of buckets."""

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
