"""Rollups by time for charts, and which thumbs they count; times of drawn answers are indexed."""

import sqlalchemy as sa
from alembic import op

revision = "20261128_0200"
down_revision = "20261128_0100"
branch_labels = None
depends_on = None

COUNTS = (
    "requests",
    "completed",
    "upstream_error",
    "truncated",
    "timeout",
    "client_cancelled",
    "policy_blocked",
    "rejected",
    "refusals",
    "refusals_known",
    "empty",
    "empty_known",
    "invalid",
    "invalid_known",
    "prompt_tokens",
    "prompt_tokens_known",
    "completion_tokens",
    "completion_tokens_known",
    "cost_nanousd",
    "cost_known",
    "thumbs_up",
    "thumbs_down",
)


def upgrade() -> None:
    op.create_table(
        "rollup",
        sa.Column("rollout_id", sa.String(), nullable=False),
        sa.Column("step_s", sa.Integer(), nullable=False),
        sa.Column("starts_s", sa.BigInteger(), nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("route", sa.String(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in COUNTS),
        sa.Column("latency", sa.LargeBinary(), nullable=False),
        sa.Column("ttft", sa.LargeBinary(), nullable=False),
        sa.Column("output_tokens", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint(
            "rollout_id", "step_s", "starts_s", "arm", "route", name="pk_rollup"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_rollup_step_s_starts_s", "rollup", ["step_s", "starts_s"])
    op.create_table(
        "thumb",
        sa.Column("target_kind", sa.String(), nullable=False),
        sa.Column("target_id", sa.String(), nullable=False),
        sa.Column("inference_id", sa.String(), nullable=True),
        sa.Column("counted", sa.Integer(), nullable=True),
        sa.Column("marked_s", sa.Float(), nullable=False),
        sa.Column("due_s", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("target_kind", "target_id", name="pk_thumb"),
        sqlite_with_rowid=False,
    )
    is_due = sa.text("due_s IS NOT NULL")
    op.create_index(
        "ix_thumb_due_s", "thumb", ["due_s"], sqlite_where=is_due, postgresql_where=is_due
    )
    op.create_index("ix_sample_rollout_id_drawn_at", "sample", ["rollout_id", "drawn_at"])


def downgrade() -> None:
    op.drop_index("ix_sample_rollout_id_drawn_at", table_name="sample")
    op.drop_table("thumb")
    op.drop_table("rollup")
