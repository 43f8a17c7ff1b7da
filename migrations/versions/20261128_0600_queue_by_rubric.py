"""The queue of answers to be judged is read by rubric, so that one that waits stops no other."""

import sqlalchemy as sa
from alembic import op

revision = "20261128_0600"
down_revision = "20261128_0500"
branch_labels = None
depends_on = None

_UNFINISHED = sa.text("state IN ('waiting', 'leased')")


def upgrade() -> None:
    _replace("ix_sample_id", "ix_sample_rubric_text_id_id", ["rubric_text_id", "id"])


def downgrade() -> None:
    _replace("ix_sample_rubric_text_id_id", "ix_sample_id", ["id"])


def _replace(old: str, new: str, columns: list[str]) -> None:
    op.drop_index(old, table_name="sample")
    op.create_index(new, "sample", columns, sqlite_where=_UNFINISHED, postgresql_where=_UNFINISHED)
