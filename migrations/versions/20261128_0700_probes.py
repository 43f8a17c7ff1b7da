"""What judges' probes came to."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261128_0700"
down_revision = "20261128_0600"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "probe_run",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rubric_id", sa.String(), nullable=False),
        sa.Column("rubric_hash", sa.String(), nullable=False),
        sa.Column("judge_id", sa.String(), nullable=False),
        sa.Column("label_hash", sa.String(), nullable=False),
        sa.Column("probes", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_probe_run"),
    )
    op.create_index("ix_probe_run_rubric_id_at", "probe_run", ["rubric_id", "at"])


def downgrade() -> None:
    op.drop_table("probe_run")
