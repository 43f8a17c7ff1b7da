"""What each key and each route has cost by day."""

import sqlalchemy as sa
from alembic import op

revision = "20261128_0500"
down_revision = "20261128_0400"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "budget_day",
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("spent_nanousd", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "kind", "name", name="pk_budget_day"),
    )


def downgrade() -> None:
    op.drop_table("budget_day")
