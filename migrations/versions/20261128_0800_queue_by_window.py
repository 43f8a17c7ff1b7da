"""The queue of reviews is read turn by turn, by lot; what counts no more goes last, by its window."""

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


_TURNS = "ix_sample_review_turns"
_ORDER = [sa.text("(reviewed_at IS NOT NULL) DESC"), sa.text("substr(id, 25, 7)")]


def upgrade() -> None:
    _replace(_BY_ID, _BY_WINDOW, "closes_at")
    columns = ["rubric_id", "review_state", "review_stream", *_ORDER]
    op.create_index(_TURNS, "sample", columns, sqlite_where=_ASKED, postgresql_where=_ASKED)


def downgrade() -> None:
    op.drop_index(_TURNS, table_name="sample")
    _replace(_BY_WINDOW, _BY_ID, "id")


def _replace(old: str, new: str, last: str) -> None:
    op.drop_index(old, table_name="sample")
    columns = ["rubric_id", "review_state", last]
    op.create_index(new, "sample", columns, sqlite_where=_ASKED, postgresql_where=_ASKED)
