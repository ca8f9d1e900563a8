"""Migrations on both databases: data is kept, up equals the models, unknown tables are refused."""

import itertools
import threading
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, inspect, text
from sqlalchemy.exc import DBAPIError

from policy_store import PolicyStore
from policy_store.engine import Database, make_engine, store_url
from policy_store.errors import UnknownSchema
from policy_store.schema import HEAD, _config, downgrade, ensure_schema, upgrade
from policy_store.tables import Base

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
NOW = datetime(2030, 1, 1, 12, 30, 15, 250_000, tzinfo=UTC)
VERSION = {
    "source_digest": A, "contract_version": 1, "parameters": "{}", "name": "p", "origin": "llm",
    "author": "m", "run_id": "r", "created_at": NOW,
}  # fmt: skip
ROWS_0001 = {
    "runs": [{"id": "r", "kind": "evolve", "config": {"seed": 1}, "started_at": NOW}],
    "run_events": [{"run_id": "r", "sequence": 1, "kind": "k", "payload": {"n": [1]}, "at": NOW}],
    "sources": [{"digest": A, "text": "x = 1", "claim": "", "created_at": NOW}],
    "versions": [
        VERSION | {"digest": B, "state": "retired"}, VERSION | {"digest": C, "state": "active"}
    ],
    "parents": [{"child": C, "position": 0, "parent": B}],
    "evidence": [{"digest": A, "document": "{}", "created_at": NOW}],
    "attachments": [{"version_digest": C, "evidence_digest": A, "attached_at": NOW}],
    "slots": [{"deployment": "d", "alias": "active", "version_digest": C, "sequence": 2,
               "changed_at": NOW}],
    "activations": [
        {"deployment": "d", "sequence": 1, "version_digest": B, "at": NOW},
        {"deployment": "d", "sequence": 2, "version_digest": C, "good_sequence": 1,
         "good_digest": B, "at": NOW},
    ],
    "hosts": [{"deployment": "d", "host": "h", "sequence": 2, "digest": C, "seen_at": NOW}],
    "host_ejections": [{"deployment": "d", "host": "h", "digest": B, "sequence": 1, "kind": "ERROR",
                        "reason": "why", "at": NOW}],
    "audit": [{"sequence": 1, "at": "now", "actor": "ada", "action": "approved", "subject": C,
               "note": "good", "details": "{}", "previous_hash": A, "hash": B}],
}  # fmt: skip
CHANGES = ["UPDATE audit SET note = 'never'", "DELETE FROM audit", "UPDATE activations SET at = at",
           "DELETE FROM activations WHERE sequence = 2"]  # fmt: skip
CHANGES += [
    "INSERT INTO activations (deployment, sequence, at) SELECT deployment, sequence, at FROM "
    "activations WHERE true ON CONFLICT (deployment, sequence) DO UPDATE SET version_digest = NULL"
]
CHANGES_THERE = {
    "sqlite": ["REPLACE INTO audit SELECT * FROM audit"],
    "postgresql": ["TRUNCATE audit", "TRUNCATE activations CASCADE"],
}


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh(request, tmp_path):
    """Makes the URL of an empty database, again and again."""
    with ExitStack() as made:
        if request.param == "sqlite":
            paths = (tmp_path / f"{number}.db" for number in itertools.count())
            yield lambda: str(next(paths))
        else:
            server = request.getfixturevalue("postgres")
            yield lambda: made.enter_context(server.database())


@contextmanager
def opened(url):
    database = Database(make_engine(store_url(url)))
    try:
        yield database
    finally:
        database.close()


def reflected(connection):
    found = MetaData()
    found.reflect(connection)
    return found


def content(connection):
    """Every row of every table that 0001 has, in the columns that it has."""
    tables = reflected(connection).tables
    columns = {name: sorted(set().union(*rows)) for name, rows in ROWS_0001.items()}
    return {
        name: sorted(map(str, connection.execute(
            tables[name].select().with_only_columns(*(tables[name].c[c] for c in columns[name]))
        ))) for name in columns
    }  # fmt: skip


def refuses_changes(database):
    for statement in CHANGES + CHANGES_THERE[database.engine.dialect.name]:
        refusal = pytest.raises(DBAPIError, match=r"(audit|activations) only grows")
        with database.engine.connect() as connection, refusal:
            connection.execute(text(statement))


def test_a_store_of_0001_comes_up_and_goes_back_with_all_it_holds(fresh):
    with opened(fresh()) as database:
        with database.migrating() as connection:
            upgrade(connection, "0001")
            tables = reflected(connection).tables
            for name, rows in ROWS_0001.items():
                for row in rows:
                    connection.execute(tables[name].insert(), row)
            before = content(connection)
        refuses_changes(database)
        for go, to in ((upgrade, HEAD), (downgrade, "0001"), (upgrade, HEAD)):
            with database.migrating() as connection:
                go(connection, to)
                assert content(connection) == before
            refuses_changes(database)


def test_a_kept_attachment_is_evidence(fresh):
    url = fresh()
    with opened(url) as database, database.migrating() as connection:
        upgrade(connection, "0001")
        tables = reflected(connection).tables
        for name in ("runs", "sources", "versions", "evidence", "attachments"):
            connection.execute(tables[name].insert(), ROWS_0001[name])
    with PolicyStore.open(url) as store, store._database.reading() as session:
        assert session.scalars(text("SELECT kind FROM attachments")).all() == ["evidence"]
        assert store.runs.get_run("r").started_at == NOW


def test_migrated_tables_equal_the_models(fresh):
    with opened(fresh()) as database:
        ensure_schema(database)
        with database.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"render_as_batch": True})
            assert compare_metadata(context, Base.metadata) == []


def constraints(engine):
    look = inspect(engine)
    return {
        (table, kind, found["name"])
        for table in look.get_table_names()
        for kind in ("get_check_constraints", "get_foreign_keys", "get_indexes",
                     "get_unique_constraints")
        for found in getattr(look, kind)(table)
    }  # fmt: skip


def test_migrated_constraints_have_the_names_of_the_models(fresh):
    with opened(fresh()) as models, opened(fresh()) as migrated:
        Base.metadata.create_all(models.engine)
        ensure_schema(migrated)
        assert constraints(models.engine) == constraints(migrated.engine)


def test_all_the_way_down_leaves_nothing_and_opening_brings_it_up(fresh):
    url = fresh()
    with opened(url) as database:
        ensure_schema(database)
        with database.migrating() as connection:
            downgrade(connection)
            assert inspect(connection).get_table_names() == ["alembic_version"]
    with PolicyStore.open(url) as store:
        assert store.audit.verify().intact


def test_head_is_the_newest_migration():
    assert ScriptDirectory.from_config(_config()).get_current_head() == HEAD


def test_newer_schema_is_refused_with_what_to_type(fresh):
    url = fresh()
    PolicyStore.open(url).close()
    with opened(url) as database, database.migrating() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0999'"))
    with pytest.raises(UnknownSchema, match=r"0999.*pip install --upgrade evolver"):
        PolicyStore.open(url)


def test_somebody_elses_database_is_refused(fresh):
    url = fresh()
    with opened(url) as database, database.migrating() as connection:
        connection.execute(text("CREATE TABLE music (title TEXT)"))
    with pytest.raises(UnknownSchema, match="a database of its own"):
        PolicyStore.open(url)


def test_many_first_openers_make_one_store(fresh):
    url, failures = fresh(), []

    def first_open():
        try:
            PolicyStore.open(url).close()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=first_open) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_migration_that_is_killed_half_way_leaves_what_was_there(fresh, monkeypatch):
    url = fresh()

    def broken(connection):
        upgrade(connection)
        raise KeyboardInterrupt

    monkeypatch.setattr("policy_store.schema.upgrade", broken)
    with opened(url) as database:
        with pytest.raises(KeyboardInterrupt):
            ensure_schema(database)
        assert inspect(database.engine).get_table_names() == []
