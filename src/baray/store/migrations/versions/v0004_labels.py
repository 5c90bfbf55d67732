"""Labels that were raised, requests to lower one and their approvals, and what a project may hold at most."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""

    op.add_column("project", sa.Column("clearance", sa.Text(), nullable=True))
    op.create_table(
        "raised",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("version_id", sa.String(length=40), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("cause", sa.String(length=40), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.String(length=40), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["version.id"], name=op.f("fk_raised_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_raised")),
    )
    op.create_index(op.f("ix_raised_version_id"), "raised", ["version_id"], unique=False)
    op.create_table(
        "lowering",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("project_id", sa.String(length=40), nullable=False),
        sa.Column("version_id", sa.String(length=40), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("manifest_digest", sa.Text(), nullable=False),
        sa.Column("source_label", sa.Text(), nullable=False),
        sa.Column("target_label", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.String(length=40), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("expires", sa.Float(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("made_version", sa.String(length=40), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_lowering_project_id")),
        sa.ForeignKeyConstraint(["version_id"], ["version.id"], name=op.f("fk_lowering_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lowering")),
    )
    op.create_index(op.f("ix_lowering_project_id_state"), "lowering", ["project_id", "state"], unique=False)
    op.create_index(op.f("ix_lowering_made_version"), "lowering", ["made_version"], unique=False)
    op.create_table(
        "approval",
        sa.Column("lowering_id", sa.String(length=40), nullable=False),
        sa.Column("actor_id", sa.String(length=40), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("way", sa.Text(), nullable=False),
        sa.Column("signed", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["actor_id"], ["actor.id"], name=op.f("fk_approval_actor_id")),
        sa.ForeignKeyConstraint(["lowering_id"], ["lowering.id"], name=op.f("fk_approval_lowering_id")),
        sa.PrimaryKeyConstraint("lowering_id", "actor_id", name=op.f("pk_approval")),
    )
    op.create_table(
        "approval_key",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("actor_id", sa.String(length=40), nullable=False),
        sa.Column("public", sa.Text(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("revoked", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["actor_id"], ["actor.id"], name=op.f("fk_approval_key_actor_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval_key")),
    )
    op.create_index(op.f("ix_approval_key_actor_id"), "approval_key", ["actor_id"], unique=False)
