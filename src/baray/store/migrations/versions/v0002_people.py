"""Site roles, credentials, and what sessions and scoped tokens need.

The role `manager` is called `steward` from here on; tokens made before there were scopes keep all of them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""

    op.add_column("actor", sa.Column("site_role", sa.Text(), nullable=True))
    op.add_column("token", sa.Column("max_label", sa.Text(), nullable=True))
    op.add_column("token", sa.Column("way", sa.Text(), nullable=True))
    op.add_column("token", sa.Column("agent", sa.Text(), nullable=True))
    op.add_column("token", sa.Column("proved", sa.Float(), nullable=True))
    op.create_index(op.f("ix_token_actor_id"), "token", ["actor_id"], unique=False)
    op.create_table(
        "credential",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("actor_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("lookup", sa.Text(), nullable=True),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("counter", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("last_used", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["actor_id"], ["actor.id"], name=op.f("fk_credential_actor_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credential")),
        sa.UniqueConstraint("lookup", name=op.f("uq_credential_lookup")),
    )
    op.create_index(op.f("ix_credential_actor_id_kind"), "credential", ["actor_id", "kind"], unique=False)
    op.execute("UPDATE actor SET site_role = 'operator' WHERE name = 'operator'")
    op.execute("UPDATE member SET role = 'steward' WHERE role = 'manager'")
    op.execute("""UPDATE token SET scopes = '["admin","ask","read","run"]' WHERE scopes = '[]'""")
