"""A Run's own token, which lives and dies with its Attempt's lease, and how many metrics came by it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""

    op.add_column("attempt", sa.Column("token_hash", sa.Text(), nullable=True))
    op.add_column("attempt", sa.Column("points", sa.Integer(), server_default="0", nullable=False))
    op.create_index(op.f("ix_attempt_token_hash"), "attempt", ["token_hash"], unique=True)
