"""What keeps a worker from asking."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("worker", sa.Column("trouble", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("worker", "trouble")
