"""Drafts, flags, final labels, pairs of answers and datasets of the review pages."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261128_0300"
down_revision = "20261128_0250"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "review_draft",
        sa.Column("sample_id", sa.String(), nullable=False),
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("saved_at", TIME, nullable=False),
        sa.Column("labels", JSON, nullable=False),
        sa.Column("comment", sa.String(), nullable=False),
        sa.Column("corrected_response", sa.String(), nullable=False),
        sa.Column("is_flagged", sa.Boolean(), nullable=False),
        sa.Column("seconds_active", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("sample_id", "reviewer", name="pk_review_draft"),
        sa.ForeignKeyConstraint(
            ["sample_id"], ["sample.id"], name="fk_review_draft_sample_id_sample"
        ),
    )
    op.create_table(
        "review_flag",
        sa.Column("sample_id", sa.String(), nullable=False),
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("settled_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("sample_id", "reviewer", name="pk_review_flag"),
        sa.ForeignKeyConstraint(
            ["sample_id"], ["sample.id"], name="fk_review_flag_sample_id_sample"
        ),
    )
    op.create_table(
        "review_reveal",
        sa.Column("sample_id", sa.String(), nullable=False),
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("sample_id", "reviewer", name="pk_review_reveal"),
        sa.ForeignKeyConstraint(
            ["sample_id"], ["sample.id"], name="fk_review_reveal_sample_id_sample"
        ),
    )
    op.create_table(
        "adjudication",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("sample_id", sa.String(), nullable=False),
        sa.Column("decided_by", sa.String(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("labels", JSON, nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("unclear", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_adjudication"),
        sa.ForeignKeyConstraint(
            ["sample_id"], ["sample.id"], name="fk_adjudication_sample_id_sample"
        ),
    )
    op.create_index("ix_adjudication_at", "adjudication", ["at"])
    op.create_index("ix_adjudication_sample_id", "adjudication", ["sample_id"])
    op.create_table(
        "reviewer_exclusion",
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("excluded_by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("reviewer", name="pk_reviewer_exclusion"),
    )
    op.create_table(
        "review_pair",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("rubric_id", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("rubric_text_id", sa.String(), nullable=True),
        sa.Column("messages", JSON, nullable=True),
        sa.Column("response_a", sa.String(), nullable=True),
        sa.Column("response_b", sa.String(), nullable=True),
        sa.Column("inference_a", sa.String(), nullable=True),
        sa.Column("inference_b", sa.String(), nullable=True),
        sa.Column("arm_a", sa.String(), nullable=True),
        sa.Column("arm_b", sa.String(), nullable=True),
        sa.Column("wanted", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("made_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_review_pair"),
        sa.UniqueConstraint("rubric_id", "key", name="uq_review_pair_rubric_id_key"),
    )
    op.create_index("ix_review_pair_rubric_id_state", "review_pair", ["rubric_id", "state"])
    op.create_table(
        "pair_seat",
        sa.Column("pair_id", sa.String(), nullable=False),
        sa.Column("seat", sa.Integer(), nullable=False),
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("leased_until", TIME, nullable=True),
        sa.PrimaryKeyConstraint("pair_id", "seat", name="pk_pair_seat"),
        sa.ForeignKeyConstraint(
            ["pair_id"], ["review_pair.id"], name="fk_pair_seat_pair_id_review_pair"
        ),
        sa.UniqueConstraint("pair_id", "reviewer", name="uq_pair_seat_pair_id_reviewer"),
    )
    op.create_table(
        "pair_preference",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("pair_id", sa.String(), nullable=False),
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("shown_first", sa.String(), nullable=False),
        sa.Column("preferred", sa.String(), nullable=False),
        sa.Column("criteria", JSON, nullable=False),
        sa.Column("comment", sa.String(), nullable=True),
        sa.Column("seconds_active", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_pair_preference"),
        sa.ForeignKeyConstraint(
            ["pair_id"], ["review_pair.id"], name="fk_pair_preference_pair_id_review_pair"
        ),
        sa.UniqueConstraint("pair_id", "reviewer", name="uq_pair_preference_pair_id_reviewer"),
    )
    op.create_index("ix_pair_preference_reviewer_at", "pair_preference", ["reviewer", "at"])
    op.create_table(
        "dataset",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("made_at", TIME, nullable=False),
        sa.Column("made_by", sa.String(), nullable=False),
        sa.Column("frozen_at", TIME, nullable=True),
        sa.Column("frozen_hash", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_dataset"),
        sa.UniqueConstraint("name", "version", name="uq_dataset_name_version"),
    )
    op.create_table(
        "dataset_item",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("dataset_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("item", JSON, nullable=False),
        sa.Column("origin_review_id", sa.String(), nullable=True),
        sa.Column("added_at", TIME, nullable=False),
        sa.Column("added_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_dataset_item"),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["dataset.id"], name="fk_dataset_item_dataset_id_dataset"
        ),
        sa.UniqueConstraint("dataset_id", "name", name="uq_dataset_item_dataset_id_name"),
    )
    op.create_index("ix_dataset_item_origin_review_id", "dataset_item", ["origin_review_id"])

    op.create_index(
        "ix_sample_review_counts",
        "sample",
        ["rubric_id", "rubric_text_id", "review_state", "drawn_at", "closes_at"],
        sqlite_where=sa.text("review_state IS NOT NULL"),
        postgresql_where=sa.text("review_state IS NOT NULL"),
    )
    op.create_index(
        "ix_review_corrected",
        "review",
        ["id"],
        sqlite_where=sa.text("corrected_response IS NOT NULL"),
        postgresql_where=sa.text("corrected_response IS NOT NULL"),
    )
    op.create_index(
        "ix_sample_rubric_id_reviewed_at",
        "sample",
        ["rubric_id", "reviewed_at"],
        sqlite_where=sa.text("reviewed_at IS NOT NULL"),
        postgresql_where=sa.text("reviewed_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_sample_rubric_id_reviewed_at", table_name="sample")
    op.drop_index("ix_review_corrected", table_name="review")
    op.drop_index("ix_sample_review_counts", table_name="sample")
    for table in (
        "dataset_item",
        "dataset",
        "pair_preference",
        "pair_seat",
        "review_pair",
        "reviewer_exclusion",
        "adjudication",
        "review_reveal",
        "review_flag",
        "review_draft",
    ):
        op.drop_table(table)
