"""What the gateway knows of paths, attempts, continuations and tiers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261123_1200"
down_revision = "20261123_0400"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        # Waiting for a lock would make every later query wait behind this one.
        op.execute("SET LOCAL lock_timeout = '5s'")
    # Without default: rows that are there stay as they are, what is not known of them is NULL, and
    # neither database writes the table again.
    json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    with op.batch_alter_table("inference", schema=None) as batch_op:
        batch_op.add_column(sa.Column("path", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("sent_params", json, nullable=True))
        batch_op.add_column(sa.Column("attempts", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("absorbed", json, nullable=True))
        batch_op.add_column(sa.Column("continuation", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("service_tier", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("cache_write_tokens", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    with op.batch_alter_table("inference", schema=None) as batch_op:
        batch_op.drop_column("cache_write_tokens")
        batch_op.drop_column("service_tier")
        batch_op.drop_column("continuation")
        batch_op.drop_column("absorbed")
        batch_op.drop_column("attempts")
        batch_op.drop_column("sent_params")
        batch_op.drop_column("path")
