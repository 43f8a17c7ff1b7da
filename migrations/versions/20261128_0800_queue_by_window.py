"""The queue of reviews is read by the time at which windows close: what counts no more goes last."""

import sqlalchemy as sa
from alembic import op

revision = "20261128_0800"
down_revision = "20261128_0700"
branch_labels = None
depends_on = None

_ASKED = sa.text("review_state IS NOT NULL")
_BY_ID, _BY_WINDOW = (
    "ix_sample_rubric_id_review_state_id",
    "ix_sample_rubric_id_review_state_closes_at",
)


def upgrade() -> None:
    _replace(_BY_ID, _BY_WINDOW, "closes_at")


def downgrade() -> None:
    _replace(_BY_WINDOW, _BY_ID, "id")


def _replace(old: str, new: str, last: str) -> None:
    op.drop_index(old, table_name="sample")
    columns = ["rubric_id", "review_state", last]
    op.create_index(new, "sample", columns, sqlite_where=_ASKED, postgresql_where=_ASKED)
