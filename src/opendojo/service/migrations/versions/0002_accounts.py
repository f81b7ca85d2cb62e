"""Tokens with parents, accounts that can be removed, gangs, inputs from earlier jobs.

Tokens that the API made before have no known parent, so nothing could end them with it: they are
revoked here, and named by the audit's rows.
"""

import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "0002", "0001", None, None

_NEW = {
    "tenant": (("removed_ms", sa.BigInteger),),
    "project": (("removed_ms", sa.BigInteger),),
    "user_account": (("removed_ms", sa.BigInteger), ("subject", sa.String)),
    "token": (("parent_id", sa.String), ("issuer_id", sa.String)),
}


def upgrade():
    """Add the columns; the rows stay."""
    for table, columns in _NEW.items():
        for name, kind in columns:
            op.add_column(table, sa.Column(name, kind, nullable=True))
    op.create_index("ix_token_parent_id", "token", ["parent_id"])
    op.create_index("ix_token_issuer_id", "token", ["issuer_id"])
    op.create_index("ix_user_account_subject", "user_account", ["subject"], unique=True)
    op.create_index("audit_by_tenant", "audit", ["tenant_id", "id"])
    op.add_column("job", sa.Column("workers", sa.BigInteger, nullable=False, server_default="1"))
    op.add_column("job", sa.Column("inputs", sa.JSON, nullable=False, server_default="{}"))
    op.execute(
        "UPDATE token SET revoked_ms = 0 WHERE revoked_ms IS NULL AND id IN "
        "(SELECT subject FROM audit WHERE action = 'new token')"
    )
    op.execute(
        "UPDATE user_account SET role = 'operator' WHERE name = 'admin' AND role = 'admin' AND "
        "tenant_id IN (SELECT id FROM tenant WHERE name = 'first')"
    )


def downgrade():
    """Drop the columns; what was revoked stays revoked."""
    op.execute("UPDATE user_account SET role = 'admin' WHERE role = 'operator'")
    op.drop_column("job", "inputs")
    op.drop_column("job", "workers")
    op.drop_index("audit_by_tenant", "audit")
    op.drop_index("ix_user_account_subject", "user_account")
    op.drop_index("ix_token_issuer_id", "token")
    op.drop_index("ix_token_parent_id", "token")
    for table, columns in _NEW.items():
        for name, _ in columns:
            op.drop_column(table, name)
