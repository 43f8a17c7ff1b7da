"""All tables of the first release."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261123_0400"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        # Waiting for a lock would make every later query wait behind this one.
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "inference",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("endpoint", sa.String(), nullable=False),
        sa.Column("route", sa.String(), nullable=True),
        sa.Column("key_name", sa.String(), nullable=True),
        sa.Column("rollout_id", sa.String(), nullable=True),
        sa.Column("stage", sa.String(), nullable=True),
        sa.Column("share", sa.Float(), nullable=True),
        sa.Column("assigned", sa.String(), nullable=True),
        sa.Column("served", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("eligible", sa.Boolean(), nullable=False),
        sa.Column("unit_hash", sa.String(), nullable=True),
        sa.Column("unit_source", sa.String(), nullable=True),
        sa.Column("session_hash", sa.String(), nullable=True),
        sa.Column(
            "segments", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.Column("upstream", sa.String(), nullable=True),
        sa.Column("requested_model", sa.String(), nullable=True),
        sa.Column("model", sa.String(), nullable=True),
        sa.Column("reported_model", sa.String(), nullable=True),
        sa.Column("response_id", sa.String(), nullable=True),
        sa.Column("upstream_request_id", sa.String(), nullable=True),
        sa.Column("prompt", sa.String(), nullable=True),
        sa.Column("prompt_hash", sa.String(), nullable=True),
        sa.Column("config_hash", sa.String(), nullable=False),
        sa.Column("stream", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("terminal", sa.String(), nullable=False),
        sa.Column("error_code", sa.String(), nullable=True),
        sa.Column("finish_reason", sa.String(), nullable=True),
        sa.Column("ttft_ms", sa.Float(), nullable=True),
        sa.Column("latency_ms", sa.Float(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=True),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=True),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=True),
        sa.Column("usage_source", sa.String(), nullable=False),
        sa.Column("cost_nanousd", sa.BigInteger(), nullable=True),
        sa.Column("uncached_cost_nanousd", sa.BigInteger(), nullable=True),
        sa.Column("schema_expected", sa.Boolean(), nullable=False),
        sa.Column("output_valid", sa.Boolean(), nullable=True),
        sa.Column("empty", sa.Boolean(), nullable=True),
        sa.Column("refusal", sa.Boolean(), nullable=True),
        sa.Column("output_chars", sa.BigInteger(), nullable=True),
        sa.Column("retry_count", sa.Integer(), nullable=False),
        sa.Column("settle_s", sa.Float(), nullable=False),
        sa.Column("body_hash", sa.String(), nullable=True),
        sa.Column("content_store", sa.String(), nullable=False),
        sa.Column("content_hash", sa.String(), nullable=True),
        sa.Column("format", sa.Integer(), nullable=False),
        sa.Column("request_text", sa.String(), nullable=True),
        sa.Column("response_text", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inference")),
    )
    with op.batch_alter_table("inference", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_inference_at"), ["at"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_inference_response_id"),
            ["response_id"],
            unique=False,
            sqlite_where=sa.text("response_id IS NOT NULL"),
            postgresql_where=sa.text("response_id IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_inference_retry",
            ["unit_hash", "body_hash", "at"],
            unique=False,
            sqlite_where=sa.text("retry_count > 0"),
            postgresql_where=sa.text("retry_count > 0"),
        )
        batch_op.create_index(
            batch_op.f("ix_inference_rollout_id_at"), ["rollout_id", "at"], unique=False
        )

    op.create_table(
        "installation",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_installation")),
    )
    op.create_table(
        "lease",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lease")),
    )
    op.create_table(
        "metric_stat",
        sa.Column("rollout_id", sa.String(), nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("slice", sa.String(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("rollout_id", "metric", "slice", name=op.f("pk_metric_stat")),
    )
    op.create_table(
        "outcome",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("target_kind", sa.String(), nullable=False),
        sa.Column("target_id", sa.String(), nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("value_num", sa.Float(), nullable=True),
        sa.Column("value_text", sa.String(), nullable=True),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("comment", sa.String(), nullable=True),
        sa.Column("idempotency_key", sa.String(), nullable=True),
        sa.Column("key_name", sa.String(), nullable=True),
        sa.Column("format", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outcome")),
    )
    with op.batch_alter_table("outcome", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_outcome_target_kind_target_id_metric"),
            ["target_kind", "target_id", "metric"],
            unique=False,
        )
        batch_op.create_index(
            "uq_outcome_idempotency_key",
            ["idempotency_key"],
            unique=True,
            sqlite_where=sa.text("idempotency_key IS NOT NULL AND key_name IS NULL"),
            postgresql_where=sa.text("idempotency_key IS NOT NULL AND key_name IS NULL"),
        )
        batch_op.create_index(
            "uq_outcome_key_name_idempotency_key",
            ["key_name", "idempotency_key"],
            unique=True,
            sqlite_where=sa.text("idempotency_key IS NOT NULL AND key_name IS NOT NULL"),
            postgresql_where=sa.text("idempotency_key IS NOT NULL AND key_name IS NOT NULL"),
        )

    op.create_table(
        "rollout",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("build_attempt", sa.Integer(), nullable=False),
        sa.Column("route", sa.String(), nullable=False),
        sa.Column("active_route", sa.String(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("stage", sa.String(), nullable=True),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("salt", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("spec", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column(
            "control", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=True
        ),
        sa.Column(
            "segments", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.Column(
            "progress", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stage_started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("hold_by", sa.String(), nullable=True),
        sa.Column("hold_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("hold_reason", sa.String(), nullable=True),
        sa.Column(
            "hold_codes", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.Column("reminders", sa.Integer(), nullable=False),
        sa.Column("last_decision_id", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollout")),
        sa.UniqueConstraint("active_route", name=op.f("uq_rollout_active_route")),
        sa.UniqueConstraint("name", "attempt", name=op.f("uq_rollout_name_attempt")),
    )
    with op.batch_alter_table("rollout", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_rollout_state"), ["state"], unique=False)

    op.create_table(
        "route_control",
        sa.Column("route", sa.String(), nullable=False),
        sa.Column(
            "variant", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.Column("rollout_id", sa.String(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("route", name=op.f("pk_route_control")),
    )
    op.create_table(
        "score_task",
        sa.Column("inference_id", sa.String(), nullable=False),
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("rollout_id", sa.String(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("inference_id", "what", name=op.f("pk_score_task")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("score_task", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_score_task_due_at"), ["due_at"], unique=False)

    op.create_table(
        "unit_stat",
        sa.Column("rollout_id", sa.String(), nullable=False),
        sa.Column("unit_hash", sa.String(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("rollout_id", "unit_hash", name=op.f("pk_unit_stat")),
    )
    op.create_table(
        "decision",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("rollout_id", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column(
            "reasons", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.Column("plan", sa.LargeBinary(), nullable=False),
        sa.Column("evidence", sa.LargeBinary(), nullable=False),
        sa.Column("evidence_hash", sa.String(), nullable=False),
        sa.Column("result", sa.LargeBinary(), nullable=False),
        sa.Column("applied", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["rollout_id"], ["rollout.id"], name=op.f("fk_decision_rollout_id_rollout")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decision")),
    )
    with op.batch_alter_table("decision", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_decision_rollout_id_at"), ["rollout_id", "at"], unique=False
        )

    op.create_table(
        "transition",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("rollout_id", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("from_state", sa.String(), nullable=False),
        sa.Column("to_state", sa.String(), nullable=False),
        sa.Column("from_stage", sa.String(), nullable=True),
        sa.Column("to_stage", sa.String(), nullable=True),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("decision_id", sa.String(), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["rollout_id"], ["rollout.id"], name=op.f("fk_transition_rollout_id_rollout")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transition")),
        sa.UniqueConstraint("rollout_id", "seq", name=op.f("uq_transition_rollout_id_seq")),
    )
    with op.batch_alter_table("transition", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_transition_at"), ["at"], unique=False)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    with op.batch_alter_table("transition", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_transition_at"))

    op.drop_table("transition")
    with op.batch_alter_table("decision", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_decision_rollout_id_at"))

    op.drop_table("decision")
    op.drop_table("unit_stat")
    with op.batch_alter_table("score_task", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_score_task_due_at"))

    op.drop_table("score_task")
    op.drop_table("route_control")
    with op.batch_alter_table("rollout", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_rollout_state"))

    op.drop_table("rollout")
    with op.batch_alter_table("outcome", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_outcome_key_name_idempotency_key",
            sqlite_where=sa.text("idempotency_key IS NOT NULL AND key_name IS NOT NULL"),
            postgresql_where=sa.text("idempotency_key IS NOT NULL AND key_name IS NOT NULL"),
        )
        batch_op.drop_index(
            "uq_outcome_idempotency_key",
            sqlite_where=sa.text("idempotency_key IS NOT NULL AND key_name IS NULL"),
            postgresql_where=sa.text("idempotency_key IS NOT NULL AND key_name IS NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_outcome_target_kind_target_id_metric"))

    op.drop_table("outcome")
    op.drop_table("metric_stat")
    op.drop_table("lease")
    op.drop_table("installation")
    with op.batch_alter_table("inference", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_inference_rollout_id_at"))
        batch_op.drop_index(
            "ix_inference_retry",
            sqlite_where=sa.text("retry_count > 0"),
            postgresql_where=sa.text("retry_count > 0"),
        )
        batch_op.drop_index(
            batch_op.f("ix_inference_response_id"),
            sqlite_where=sa.text("response_id IS NOT NULL"),
            postgresql_where=sa.text("response_id IS NOT NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_inference_at"))

    op.drop_table("inference")
