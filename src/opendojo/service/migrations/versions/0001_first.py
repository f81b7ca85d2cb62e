"""The first schema; the ledger refuses changes in the database itself."""

import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "0001", None, None, None


def _text(name, *more, null=False):
    return sa.Column(name, sa.String, *more, nullable=null)


def _whole(name, null=False):
    return sa.Column(name, sa.BigInteger, nullable=null)


def _serial():
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True)


def _name():
    return sa.Column("id", sa.String, primary_key=True)


def _ref(name, table):
    return _text(name, sa.ForeignKey(f"{table}.id"))


def upgrade():
    """Make all tables."""
    _tenants()
    _jobs()
    _ledger()
    op.create_table(
        "audit", _serial(), _text("tenant_id"), _text("user_id"), _whole("at_ms"),
        _text("action"), _text("subject"),
    )  # fmt: skip


def _tenants():
    op.create_table(
        "tenant", _name(), sa.Column("name", sa.String, nullable=False, unique=True),
        _whole("weight"), _whole("rank"), _whole("cap_chips", True), _whole("budget_micro", True),
        _whole("budget_chip_ms", True), _whole("budget_mj", True), _whole("price_micro"),
    )  # fmt: skip
    op.create_table(
        "project", _name(), _ref("tenant_id", "tenant"), _text("name"),
        sa.UniqueConstraint("tenant_id", "name"),
    )  # fmt: skip
    op.create_index("ix_project_tenant_id", "project", ["tenant_id"])
    op.create_table(
        "user_account", _name(), _ref("tenant_id", "tenant"), _text("name"), _text("role"),
        sa.UniqueConstraint("tenant_id", "name"),
    )  # fmt: skip
    op.create_index("ix_user_account_tenant_id", "user_account", ["tenant_id"])
    op.create_table(
        "token", _name(), _ref("tenant_id", "tenant"), _ref("user_id", "user_account"),
        sa.Column("digest", sa.String, nullable=False, unique=True),
        sa.Column("scopes", sa.JSON, nullable=False), _whole("expires_ms"),
        _whole("revoked_ms", True),
    )  # fmt: skip
    op.create_index("ix_token_tenant_id", "token", ["tenant_id"])


def _jobs():
    op.create_table(
        "job", _name(), _ref("tenant_id", "tenant"), _ref("project_id", "project"),
        _ref("user_id", "user_account"), _text("key"), _text("digest"),
        sa.Column("command", sa.JSON, nullable=False), _whole("chips"), _whole("limit_s"),
        _whole("priority"), _whole("retries"),
        sa.Column("preemptible", sa.Boolean, nullable=False), _text("state"),
        _whole("submitted_ms"), _whole("changed_ms"), _whole("attempts"), _whole("failures"),
        sa.UniqueConstraint("tenant_id", "key"),
    )  # fmt: skip
    op.create_index("job_by_tenant", "job", ["tenant_id", "submitted_ms", "id"])
    op.create_index("job_by_state", "job", ["state"])
    op.create_table(
        "attempt", _name(), _ref("job_id", "job"), _ref("tenant_id", "tenant"), _whole("number"),
        _whole("made_ms"), _whole("ended_ms", True), _whole("exit_code", True),
        sa.UniqueConstraint("job_id", "number"),
    )  # fmt: skip
    op.create_table(
        "event", _serial(), _ref("job_id", "job"), _ref("tenant_id", "tenant"), _whole("at_ms"),
        _text("state"), _whole("attempt"), _text("text"),
    )  # fmt: skip
    op.create_index("ix_event_job_id", "event", ["job_id"])


def _ledger():
    op.create_table(
        "ledger", _serial(), _ref("tenant_id", "tenant"), _ref("project_id", "project"),
        _ref("job_id", "job"), _ref("attempt_id", "attempt"), _whole("number"), _whole("start_ms"),
        _whole("end_ms"), _whole("chip_ms"), _whole("cpu_ms"), _whole("energy_mj", True),
        _text("energy_method"), _whole("frames"), _whole("bytes"), _whole("money_micro"),
        _whole("price_micro"),
        sa.Column("corrects", sa.BigInteger, sa.ForeignKey("ledger.id"), nullable=True),
        _text("reason"), sa.UniqueConstraint("attempt_id", "number"),
    )  # fmt: skip
    op.create_index("ledger_by_tenant", "ledger", ["tenant_id", "end_ms"])
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER ledger_no_{verb.lower()} BEFORE {verb} ON ledger BEGIN "
                "SELECT RAISE(ABORT, 'the ledger is append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION ledger_fixed() RETURNS trigger AS $$ BEGIN "
        "RAISE EXCEPTION 'the ledger is append-only'; END $$ LANGUAGE plpgsql"
    )
    op.execute(
        "CREATE TRIGGER ledger_fixed BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger "
        "FOR EACH STATEMENT EXECUTE FUNCTION ledger_fixed()"
    )


def downgrade():
    """Drop all tables."""
    for name in ("audit", "ledger", "event", "attempt", "job", "token", "user_account", "project",
                 "tenant"):  # fmt: skip
        op.drop_table(name)
    if op.get_bind().dialect.name != "sqlite":
        op.execute("DROP FUNCTION ledger_fixed()")
