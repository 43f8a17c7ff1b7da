"""Which text each prompt version had when it was first served."""

import sqlalchemy as sa
from alembic import op

revision = "20261123_1300"
down_revision = "20261123_1200"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "served_prompt",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("content_hash", sa.String(), nullable=False),
        sa.Column("first_served_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    op.drop_table("served_prompt")
