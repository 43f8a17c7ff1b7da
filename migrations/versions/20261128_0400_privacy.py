"""What people asked to be erased, and the indexes by which texts and comments grow old."""

import sqlalchemy as sa
from alembic import op

revision = "20261128_0400"
down_revision = "20261128_0300"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
HAS_TEXT = sa.text("request_text IS NOT NULL OR response_text IS NOT NULL")
HAS_COMMENT = sa.text("comment IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "erasure",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("requested_at", TIME, nullable=False),
        sa.Column("requested_by", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("position", sa.String(), nullable=False),
        sa.Column("inferences", sa.Integer(), nullable=False),
        sa.Column("comments", sa.Integer(), nullable=False),
        sa.Column("done_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_erasure"),
    )
    op.create_index("ix_erasure_state", "erasure", ["state"])
    op.create_index(
        "ix_inference_text",
        "inference",
        ["route", "at"],
        sqlite_where=HAS_TEXT,
        postgresql_where=HAS_TEXT,
    )
    op.create_index(
        "ix_outcome_comment",
        "outcome",
        ["at"],
        sqlite_where=HAS_COMMENT,
        postgresql_where=HAS_COMMENT,
    )


def downgrade() -> None:
    op.drop_index("ix_outcome_comment", "outcome")
    op.drop_index("ix_inference_text", "inference")
    op.drop_table("erasure")
