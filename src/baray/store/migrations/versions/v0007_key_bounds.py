"""What a key is bounded to: Services, requests a minute, tokens a day."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""

    op.add_column("token", sa.Column("bounds", sa.Text(), nullable=True))
