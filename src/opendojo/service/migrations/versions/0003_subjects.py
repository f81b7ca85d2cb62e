"""A person of an identity provider may be a member of several organisations.

While a subject was unique over all of them, one organisation could see, and take, another's.
"""

from alembic import op

revision, down_revision, branch_labels, depends_on = "0003", "0002", None, None


def upgrade():
    """Unique within an organisation only."""
    op.drop_index("ix_user_account_subject", "user_account")
    op.create_index("user_by_subject", "user_account", ["subject", "tenant_id"], unique=True)


def downgrade():
    """Unique over all; raises where somebody is a member of two."""
    op.drop_index("user_by_subject", "user_account")
    op.create_index("ix_user_account_subject", "user_account", ["subject"], unique=True)
