"""Outcomes that were said by who may read all count for what every key has asked."""

import sqlalchemy as sa
from alembic import op

revision = "20261128_0250"
down_revision = "20261128_0200"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("outcome", sa.Column("for_any_key", sa.Boolean(), nullable=True))


def downgrade() -> None:
    op.drop_column("outcome", "for_any_key")
