"""What a Run's maker signed about it."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""

    op.create_table(
        "provenance",
        sa.Column("run_id", sa.String(length=40), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_provenance_run_id")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_provenance")),
    )
