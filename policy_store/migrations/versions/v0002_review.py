"""What the review page needs: accounts, sessions, links, tokens, rules; canary weights, host facts.

And what keeps a large store fast: indexes on the audit log and the activations, pruned runs.

Revision 0002, after 0001. No table that only grows is copied, so its triggers stay as they
are.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KINDS = "'evidence', 'close_up', 'last_hour'"
ROLES = "'viewer', 'reviewer', 'admin'"
AUDIT_BY = ("subject", "actor", "action")
LIVE_BY = ("version_digest", "good_digest")


def upgrade() -> None:
    """Add the columns and the tables."""
    op.add_column("slots", sa.Column("weight", sa.Double(), nullable=True))
    op.add_column("hosts", sa.Column("facts", sa.JSON(), nullable=True))
    kind = sa.Column("kind", sa.String(16), nullable=False, server_default="evidence")
    with op.batch_alter_table("attachments") as attachments:
        attachments.add_column(kind)
        attachments.create_check_constraint(
            op.f("ck_attachments_kind"), sa.text(f"kind IN ({KINDS})")
        )
    op.add_column("runs", _moment("pruned_at", nullable=True))
    op.drop_index(op.f("ix_audit_subject"), "audit")
    for column in AUDIT_BY:
        op.create_index(op.f(f"ix_audit_{column}_sequence"), "audit", [column, "sequence"])
    for column in LIVE_BY:
        _index("activations", column)
    _create_accounts()
    _create_rules()


def downgrade() -> None:
    """Drop the tables and the columns."""
    for table in ("rules", "tokens", "links", "sessions", "accounts"):
        op.drop_table(table)
    for column in LIVE_BY:
        op.drop_index(op.f(f"ix_activations_{column}"), "activations")
    for column in AUDIT_BY:
        op.drop_index(op.f(f"ix_audit_{column}_sequence"), "audit")
    _index("audit", "subject")
    op.drop_column("runs", "pruned_at")
    with op.batch_alter_table("attachments") as attachments:
        attachments.drop_constraint(op.f("ck_attachments_kind"), type_="check")
        attachments.drop_column("kind")
    op.drop_column("hosts", "facts")
    op.drop_column("slots", "weight")


def _text(name: str, length: int, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=nullable)


def _moment(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _primary(table: str, column: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(column, name=op.f(f"pk_{table}"))


def _of_account(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["account"], ["accounts.name"], name=op.f(f"fk_{table}_account"))


def _role(table: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(f"role IN ({ROLES})", name=op.f(f"ck_{table}_role"))


def _index(table: str, column: str) -> None:
    op.create_index(op.f(f"ix_{table}_{column}"), table, [column])


def _create_accounts() -> None:
    op.create_table(
        "accounts",
        _text("name", 80),
        _text("likeness", 320),
        _text("role", 16),
        sa.Column("password", sa.Text(), nullable=True),
        _text("identity", 512, nullable=True),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        _moment("created_at"),
        _role("accounts"),
        sa.UniqueConstraint("identity", name=op.f("uq_accounts_identity")),
        sa.UniqueConstraint("likeness", name=op.f("uq_accounts_likeness")),
        _primary("accounts", "name"),
    )
    op.create_table(
        "sessions",
        _text("digest", 64),
        _text("account", 80),
        _text("csrf", 64),
        _moment("created_at"),
        _moment("seen_at"),
        _moment("expires_at"),
        _of_account("sessions"),
        _primary("sessions", "digest"),
    )
    op.create_table(
        "links",
        _text("digest", 64),
        _text("account", 80, nullable=True),
        _moment("created_at"),
        _moment("expires_at"),
        _moment("used_at", nullable=True),
        _of_account("links"),
        _primary("links", "digest"),
    )
    op.create_table(
        "tokens",
        _text("digest", 64),
        _text("name", 80),
        _text("account", 80),
        _text("scopes", 80),
        _moment("created_at"),
        _moment("expires_at"),
        _moment("used_at", nullable=True),
        _moment("revoked_at", nullable=True),
        _of_account("tokens"),
        _primary("tokens", "digest"),
    )
    for table, column in (("sessions", "account"), ("sessions", "expires_at"),
                          ("links", "account"), ("tokens", "account")):  # fmt: skip
        _index(table, column)


def _create_rules() -> None:
    op.create_table(
        "rules",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        _text("name", 80),
        sa.Column("text", sa.Text(), nullable=False),
        _text("installed_by", 80),
        _moment("installed_at"),
        _text("removed_by", 80, nullable=True),
        _moment("removed_at", nullable=True),
        _primary("rules", "id"),
    )
    _index("rules", "name")
