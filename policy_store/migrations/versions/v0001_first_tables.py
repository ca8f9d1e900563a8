"""First tables: sources, versions, evidence, runs, slots, activations, hosts and the audit log.

The audit log and the activations only grow: triggers abort every other change. SQLite's
`INSERT OR REPLACE` deletes without firing a delete trigger, so an insert over an existing row is
aborted as well. Revision 0001, after nothing.
"""

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ORIGINS = ("library", "mutator", "llm", "person")
ALIASES = ("active", "last_good", "canary", "shadow")
STATES = ("proposed", "verified", "evaluated", "approved", "shadow", "canary", "active")
ENDINGS = ("retired", "refused", "rejected", "ejected", "rolled_back")
GROW_ONLY = {"audit": "sequence", "activations": "deployment, sequence"}
FIRST_HASH = "0" * 64


def upgrade() -> None:
    """Make the tables, the first head of the audit log, and the triggers."""
    _create_runs()
    _create_policies()
    _create_evidence()
    _create_live()
    _create_hosts()
    _create_audit()
    for table in GROW_ONLY:
        if op.get_bind().dialect.name == "postgresql":
            _guard_postgresql(table)
        else:
            _guard_sqlite(table)


def downgrade() -> None:
    """Drop everything, in the order that the foreign keys ask for."""
    order = "audit audit_head host_ejections hosts activations slots attachments evidence parents"
    for table in (*order.split(), "versions", "sources", "run_events", "runs"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_change()")


def _text(name: str, length: int, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=nullable)


def _digest(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return _text(name, 64, nullable=nullable)


def _long(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), autoincrement=False, nullable=nullable)


def _moment(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _primary(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=op.f(f"pk_{table}"))


def _foreign(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target], name=op.f(f"fk_{table}_{column}"))


def _one_of(table: str, column: str, values: tuple[str, ...]) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=op.f(f"ck_{table}_{column}"))


def _index(table: str, *columns: str) -> None:
    op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, list(columns))


def _create_runs() -> None:
    op.create_table(
        "runs",
        _text("id", 32),
        _text("kind", 80),
        sa.Column("config", sa.JSON(), nullable=False),
        _moment("started_at"),
        _moment("finished_at", nullable=True),
        _text("verdict", 80, nullable=True),
        sa.Column("summary", sa.JSON(), nullable=True),
        _primary("runs", "id"),
    )
    _index("runs", "started_at")
    op.create_table(
        "run_events",
        _text("run_id", 32),
        _number("sequence"),
        _text("kind", 80),
        sa.Column("payload", sa.JSON(), nullable=False),
        _moment("at"),
        _foreign("run_events", "run_id", "runs.id"),
        _primary("run_events", "run_id", "sequence"),
    )


def _create_policies() -> None:
    op.create_table(
        "sources",
        _digest("digest"),
        _long("text"),
        _long("claim"),
        _moment("created_at"),
        _primary("sources", "digest"),
    )
    op.create_table(
        "versions",
        _digest("digest"),
        _digest("source_digest"),
        _number("contract_version"),
        _long("parameters"),
        _text("name", 80),
        _text("origin", 16),
        _text("author", 80),
        _text("state", 16),
        _text("run_id", 32, nullable=True),
        _moment("created_at"),
        _one_of("versions", "origin", ORIGINS),
        _one_of("versions", "state", STATES + ENDINGS),
        _foreign("versions", "run_id", "runs.id"),
        _foreign("versions", "source_digest", "sources.digest"),
        _primary("versions", "digest"),
    )
    _index("versions", "created_at")
    _index("versions", "run_id")
    _index("versions", "source_digest")
    _index("versions", "state", "created_at")
    op.create_table(
        "parents",
        _digest("child"),
        _number("position"),
        _digest("parent"),
        _foreign("parents", "child", "versions.digest"),
        _foreign("parents", "parent", "versions.digest"),
        _primary("parents", "child", "position"),
    )
    _index("parents", "parent")


def _create_evidence() -> None:
    op.create_table(
        "evidence",
        _digest("digest"),
        _long("document"),
        _moment("created_at"),
        _primary("evidence", "digest"),
    )
    op.create_table(
        "attachments",
        _digest("version_digest"),
        _digest("evidence_digest"),
        _moment("attached_at"),
        _foreign("attachments", "version_digest", "versions.digest"),
        _foreign("attachments", "evidence_digest", "evidence.digest"),
        _primary("attachments", "version_digest", "evidence_digest"),
    )
    _index("attachments", "evidence_digest")


def _create_live() -> None:
    op.create_table(
        "slots",
        _text("deployment", 80),
        _text("alias", 16),
        _digest("version_digest", nullable=True),
        _number("sequence"),
        _moment("changed_at"),
        _one_of("slots", "alias", ALIASES),
        _foreign("slots", "version_digest", "versions.digest"),
        _primary("slots", "deployment", "alias"),
    )
    _index("slots", "version_digest")
    op.create_table(
        "activations",
        _text("deployment", 80),
        _number("sequence"),
        _digest("version_digest", nullable=True),
        _number("good_sequence", nullable=True),
        _digest("good_digest", nullable=True),
        _moment("at"),
        sa.ForeignKeyConstraint(
            ["deployment", "good_sequence"],
            ["activations.deployment", "activations.sequence"],
            name=op.f("fk_activations_deployment_good_sequence"),
        ),
        _foreign("activations", "version_digest", "versions.digest"),
        _foreign("activations", "good_digest", "versions.digest"),
        _primary("activations", "deployment", "sequence"),
    )


def _create_hosts() -> None:
    op.create_table(
        "hosts",
        _text("deployment", 80),
        _text("host", 80),
        _number("sequence"),
        _digest("digest", nullable=True),
        _moment("seen_at"),
        _primary("hosts", "deployment", "host"),
    )
    op.create_table(
        "host_ejections",
        _text("deployment", 80),
        _text("host", 80),
        _digest("digest"),
        _number("sequence"),
        _text("kind", 80),
        _long("reason"),
        _moment("at"),
        sa.ForeignKeyConstraint(
            ["deployment", "host"],
            ["hosts.deployment", "hosts.host"],
            name=op.f("fk_host_ejections_deployment_host"),
        ),
        _primary("host_ejections", "deployment", "host", "digest", "sequence"),
    )


def _create_audit() -> None:
    op.create_table(
        "audit",
        _number("sequence"),
        _text("at", 32),
        _text("actor", 80),
        _text("action", 32),
        _digest("subject", nullable=True),
        _text("deployment", 80, nullable=True),
        _long("note"),
        _long("details"),
        _digest("previous_hash"),
        _digest("hash"),
        _primary("audit", "sequence"),
    )
    _index("audit", "subject")
    head = op.create_table(
        "audit_head",
        _number("id"),
        _number("sequence"),
        _digest("hash"),
        _primary("audit_head", "id"),
    )
    op.bulk_insert(head, [{"id": 1, "sequence": 0, "hash": FIRST_HASH}])


def _guard_sqlite(table: str) -> None:
    complaint = f"SELECT RAISE(ABORT, '{table} only grows')"
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
            f"BEGIN {complaint}; END"
        )
    same = " AND ".join(f"{key} = NEW.{key}" for key in GROW_ONLY[table].split(", "))
    present = f"EXISTS (SELECT 1 FROM {table} WHERE {same})"  # noqa: S608  # our own names
    op.execute(
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
        f"WHEN {present} BEGIN {complaint}; END"
    )


def _guard_postgresql(table: str) -> None:
    op.execute(
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% only grows', TG_TABLE_NAME; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
