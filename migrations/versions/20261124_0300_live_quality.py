"""Live quality: answers that are graded, by judges and by people."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261124_0300"
down_revision = "20261123_1400"
branch_labels = None
depends_on = None

PARTIAL = [
    ("ix_sample_id", "sample", ["id"], "state IN ('waiting', 'leased')"),
    (
        "ix_sample_rubric_id_review_state_id",
        "sample",
        ["rubric_id", "review_state", "id"],
        "review_state IS NOT NULL",
    ),
    (
        "ix_sample_judge_id_rubric_text_id",
        "sample",
        ["judge_id", "rubric_text_id"],
        "human_score IS NOT NULL",
    ),
    (
        "ix_review_seat_leased_until",
        "review_seat",
        ["leased_until"],
        "leased_until IS NOT NULL",
    ),
]
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "drift_look",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rubric_id", sa.String(), nullable=False),
        sa.Column("rubric_hash", sa.String(), nullable=False),
        sa.Column("judge_id", sa.String(), nullable=False),
        sa.Column("drift", sa.String(), nullable=False),
        sa.Column("report", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_drift_look"),
    )
    op.create_index("ix_drift_look_rubric_id", "drift_look", ["rubric_id"])
    op.create_table(
        "judging_day",
        sa.Column("day", sa.String(), nullable=False),
        sa.Column("reserved_nanousd", sa.BigInteger(), nullable=False),
        sa.Column("spent_nanousd", sa.BigInteger(), nullable=False),
        sa.Column("dearest_nanousd", sa.BigInteger(), nullable=False),
        sa.Column("judged", sa.Integer(), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("unknown_cost", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("day", name="pk_judging_day"),
    )
    op.create_table(
        "rubric_text",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("rubric_id", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("content_hash", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("stored_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_rubric_text"),
    )
    op.create_index("ix_rubric_text_rubric_id", "rubric_text", ["rubric_id"])
    op.create_table(
        "sample",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("inference_id", sa.String(), nullable=False),
        sa.Column("rubric_id", sa.String(), nullable=False),
        sa.Column("rubric_text_id", sa.String(), nullable=False),
        sa.Column("rollout_id", sa.String(), nullable=True),
        sa.Column("arm", sa.String(), nullable=True),
        sa.Column("stratum", sa.String(), nullable=False),
        sa.Column("stream", sa.String(), nullable=False),
        sa.Column("rate", sa.Float(), nullable=False),
        sa.Column("inclusion", sa.Float(), nullable=False),
        sa.Column("drawn_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closes_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_token", sa.String(), nullable=True),
        sa.Column("judge_id", sa.String(), nullable=True),
        sa.Column("judge_score", sa.Float(), nullable=True),
        sa.Column("judge_passed", sa.Boolean(), nullable=True),
        sa.Column("reported_model", sa.String(), nullable=True),
        sa.Column("review_stream", sa.String(), nullable=True),
        sa.Column("review_rate", sa.Float(), nullable=False),
        sa.Column("reviews_wanted", sa.Integer(), nullable=False),
        sa.Column("review_state", sa.String(), nullable=True),
        sa.Column("human_score", sa.Float(), nullable=True),
        sa.Column("human_passed", sa.Boolean(), nullable=True),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_sample"),
        sa.UniqueConstraint("inference_id", "rubric_id", name="uq_sample_inference_id_rubric_id"),
    )
    op.create_index("ix_sample_rollout_id_rubric_id", "sample", ["rollout_id", "rubric_id"])
    for name, table, columns, where in PARTIAL[:3]:
        op.create_index(
            name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
        )
    op.create_index("ix_sample_state_ready_at", "sample", ["state", "ready_at"])
    op.create_table(
        "gold_item",
        sa.Column("sample_id", sa.String(), nullable=False),
        sa.Column("labels", JSON, nullable=False),
        sa.Column("rationale", sa.String(), nullable=False),
        sa.Column("added_by", sa.String(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["sample_id"], ["sample.id"], name="fk_gold_item_sample_id_sample"),
        sa.PrimaryKeyConstraint("sample_id", name="pk_gold_item"),
    )
    op.create_table(
        "judgement",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("sample_id", sa.String(), nullable=False),
        sa.Column("judge_id", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("passed", sa.Boolean(), nullable=True),
        sa.Column("grades", JSON, nullable=False),
        sa.Column("reported_model", sa.String(), nullable=True),
        sa.Column("injection_suspected", sa.Boolean(), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("tokens_in", sa.BigInteger(), nullable=True),
        sa.Column("tokens_out", sa.BigInteger(), nullable=True),
        sa.Column("cost_nanousd", sa.BigInteger(), nullable=True),
        sa.Column("latency_s", sa.Float(), nullable=True),
        sa.Column("detail", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["sample_id"], ["sample.id"], name="fk_judgement_sample_id_sample"),
        sa.PrimaryKeyConstraint("id", name="pk_judgement"),
        sa.UniqueConstraint("sample_id", "judge_id", name="uq_judgement_sample_id_judge_id"),
    )
    op.create_index("ix_judgement_at", "judgement", ["at"])
    op.create_table(
        "review",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("sample_id", sa.String(), nullable=False),
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("labels", JSON, nullable=False),
        sa.Column("comment", sa.String(), nullable=True),
        sa.Column("corrected_response", sa.String(), nullable=True),
        sa.Column("seconds_active", sa.Float(), nullable=True),
        sa.Column("is_gold", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["sample_id"], ["sample.id"], name="fk_review_sample_id_sample"),
        sa.PrimaryKeyConstraint("id", name="pk_review"),
        sa.UniqueConstraint(
            "sample_id", "reviewer", "revision", name="uq_review_sample_id_reviewer_revision"
        ),
    )
    op.create_index("ix_review_reviewer_at", "review", ["reviewer", "at"])
    op.create_table(
        "review_seat",
        sa.Column("sample_id", sa.String(), nullable=False),
        sa.Column("seat", sa.Integer(), nullable=False),
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["sample_id"], ["sample.id"], name="fk_review_seat_sample_id_sample"
        ),
        sa.PrimaryKeyConstraint("sample_id", "seat", name="pk_review_seat"),
        sa.UniqueConstraint("sample_id", "reviewer", name="uq_review_seat_sample_id_reviewer"),
    )
    op.create_index(
        "ix_review_seat_reviewer_leased_until", "review_seat", ["reviewer", "leased_until"]
    )
    name, table, columns, where = PARTIAL[3]
    op.create_index(
        name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )
    op.add_column("score_task", sa.Column("rates", JSON, nullable=True))
    op.add_column(
        "calibration_run", sa.Column("source", sa.String(), nullable=False, server_default="labels")
    )


def downgrade() -> None:

    op.drop_column("calibration_run", "source")
    op.drop_column("score_task", "rates")
    op.drop_index("ix_review_seat_leased_until", table_name="review_seat")
    op.drop_index("ix_review_seat_reviewer_leased_until", table_name="review_seat")
    op.drop_table("review_seat")
    op.drop_index("ix_review_reviewer_at", table_name="review")
    op.drop_table("review")
    op.drop_index("ix_judgement_at", table_name="judgement")
    op.drop_table("judgement")
    op.drop_table("gold_item")
    op.drop_index("ix_sample_state_ready_at", table_name="sample")
    for name, table, _, _ in PARTIAL[:3]:
        op.drop_index(name, table_name=table)
    op.drop_index("ix_sample_rollout_id_rubric_id", table_name="sample")
    op.drop_table("sample")
    op.drop_index("ix_rubric_text_rubric_id", table_name="rubric_text")
    op.drop_table("rubric_text")
    op.drop_table("judging_day")
    op.drop_index("ix_drift_look_rubric_id", table_name="drift_look")
    op.drop_table("drift_look")
