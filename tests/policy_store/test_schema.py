"""Migrations: from empty, down and up again, the same as the models; unknown tables refused."""

import sqlite3
import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect

from policy_store import PolicyStore
from policy_store.engine import Database, make_engine, store_url
from policy_store.errors import UnknownSchema
from policy_store.schema import HEAD, _config, downgrade, ensure_schema, upgrade
from policy_store.tables import Base


@pytest.fixture
def database(tmp_path):
    opened = Database(make_engine(store_url(tmp_path / "store.db")))
    ensure_schema(opened)
    yield opened
    opened.close()


def constraints(engine):
    look = inspect(engine)
    return {
        (table, kind, found["name"])
        for table in look.get_table_names()
        for kind in ("get_check_constraints", "get_foreign_keys", "get_indexes")
        for found in getattr(look, kind)(table)
    }


def test_migrated_tables_equal_the_models(database):
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"render_as_batch": True})
        assert compare_metadata(context, Base.metadata) == []


def test_migrated_constraints_have_the_names_of_the_models(database, tmp_path):
    models = create_engine(f"sqlite:///{tmp_path}/models.db")
    Base.metadata.create_all(models)
    assert constraints(models) == constraints(database.engine)
    models.dispose()


def test_down_and_up_again(database):
    with database.migrating() as connection:
        downgrade(connection)
        assert inspect(connection).get_table_names() == ["alembic_version"]
        upgrade(connection)
    with database.engine.connect() as connection:
        assert set(inspect(connection).get_table_names()) > {"audit", "versions", "slots"}


def test_downgraded_store_is_brought_up_again_on_open(database, tmp_path):
    with database.migrating() as connection:
        downgrade(connection)
    with PolicyStore.open(tmp_path / "store.db") as store:
        assert store.audit.verify().intact


def test_head_is_the_newest_migration():
    assert ScriptDirectory.from_config(_config()).get_current_head() == HEAD


def test_newer_schema_is_refused_with_what_to_type(store_path):
    with sqlite3.connect(store_path) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '0999'")
    raw.close()
    with pytest.raises(UnknownSchema, match=r"0999.*pip install --upgrade evolver"):
        PolicyStore.open(store_path)


def test_somebody_elses_database_is_refused(tmp_path):
    raw = sqlite3.connect(tmp_path / "other.db")
    raw.execute("CREATE TABLE music (title TEXT)")
    raw.close()
    with pytest.raises(UnknownSchema, match="a database of its own"):
        PolicyStore.open(tmp_path / "other.db")


def test_many_first_openers_make_one_store(tmp_path):
    failures = []

    def first_open():
        try:
            PolicyStore.open(tmp_path / "new" / "store.db").close()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=first_open) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
