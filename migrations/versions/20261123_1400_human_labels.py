"""Human labels with their answers, and what calibrations and checks came to."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261123_1400"
down_revision = "20261123_1300"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "graded_sample",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("item_id", sa.String(), nullable=False),
        sa.Column("response_sha256", sa.String(), nullable=False),
        sa.Column("prompt", sa.String(), nullable=False),
        sa.Column("response", sa.String(), nullable=False),
        sa.Column("reference", sa.String(), nullable=True),
        sa.Column("context", sa.String(), nullable=True),
        sa.Column("tags", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_graded_sample"),
        sa.UniqueConstraint(
            "item_id", "response_sha256", name="uq_graded_sample_item_id_response_sha256"
        ),
    )
    op.create_table(
        "human_label",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("sample_id", sa.String(), nullable=False),
        sa.Column("rubric_id", sa.String(), nullable=False),
        sa.Column("rubric_hash", sa.String(), nullable=False),
        sa.Column("criterion_id", sa.String(), nullable=False),
        sa.Column("rater", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("labelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["sample_id"], ["graded_sample.id"], name="fk_human_label_sample_id_graded_sample"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_human_label"),
        sa.UniqueConstraint(
            "sample_id",
            "rubric_hash",
            "criterion_id",
            "rater",
            name="uq_human_label_sample_id_rubric_hash_criterion_id_rater",
        ),
    )
    op.create_index("ix_human_label_sample_id", "human_label", ["sample_id"])
    op.create_index("ix_human_label_rubric_id", "human_label", ["rubric_id"])
    op.create_table(
        "calibration_run",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rubric_id", sa.String(), nullable=False),
        sa.Column("rubric_hash", sa.String(), nullable=False),
        sa.Column("judge_id", sa.String(), nullable=False),
        sa.Column("label_hash", sa.String(), nullable=False),
        sa.Column("labelled", sa.Integer(), nullable=False),
        sa.Column("standing", sa.String(), nullable=False),
        sa.Column("report", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_calibration_run"),
    )
    op.create_index("ix_calibration_run_rubric_id", "calibration_run", ["rubric_id"])
    op.create_index("ix_calibration_run_judge_id", "calibration_run", ["judge_id"])
    op.create_table(
        "check_run",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("candidate", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("rubric_hash", sa.String(), nullable=False),
        sa.Column("dataset_hash", sa.String(), nullable=False),
        sa.Column("report", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_check_run"),
    )
    op.create_index("ix_check_run_name_candidate_at", "check_run", ["name", "candidate", "at"])


def downgrade() -> None:
    op.drop_table("check_run")
    op.drop_table("calibration_run")
    op.drop_table("human_label")
    op.drop_table("graded_sample")
