"""The schema's history: one line of Alembic revisions, up and down."""
