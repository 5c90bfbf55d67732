"""Replicas of Services, how many there may be, and the Revision that waits until its own are healthy."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""

    for name in ("least_replicas", "most_replicas", "wanted_replicas"):
        op.add_column("service", sa.Column(name, sa.Integer(), nullable=True))
    op.add_column("service", sa.Column("idle_seconds", sa.Float(), nullable=True))
    op.add_column("service", sa.Column("next_revision", sa.String(length=40), nullable=True))
    op.add_column("service", sa.Column("proposed", sa.Float(), nullable=True))
    op.add_column("service", sa.Column("trouble", sa.Text(), nullable=True))
    op.add_column("service", sa.Column("by", sa.String(length=40), nullable=True))
    op.create_table(
        "replica",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("service_id", sa.String(length=40), nullable=False),
        sa.Column("revision_id", sa.String(length=40), nullable=False),
        sa.Column("run_id", sa.String(length=40), nullable=True),
        sa.Column("socket", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("made", sa.Float(), nullable=False),
        sa.Column("failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("served", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["service_id"], ["service.id"], name=op.f("fk_replica_service_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replica")),
    )
    op.create_index(op.f("ix_replica_service_id_state"), "replica", ["service_id", "state"], unique=False)
