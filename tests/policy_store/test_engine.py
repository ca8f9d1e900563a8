"""Opening a database: settings that hold on every connection, and clear refusals."""

import sqlite3

import pytest
from sqlalchemy import text

from policy_store import PolicyStore, engine
from policy_store.errors import InvalidInput, StoreUnavailable


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("foreign_keys", 1), ("busy_timeout", 5000), ("synchronous", 1)],
)
def test_sqlite_settings_hold(store, pragma, value):
    with store._database.reading() as session:
        assert session.scalar(text(f"PRAGMA {pragma}")) == value


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "://", "no such thing://x"])
def test_unusable_url_is_refused(url):
    with pytest.raises(InvalidInput, match=r"file|database URL"):
        PolicyStore.open(url)


def test_a_missing_driver_is_named():
    with pytest.raises(InvalidInput, match=r"no driver here for oracle\+nothing"):
        PolicyStore.open("oracle+nothing://host/store")


def test_a_path_with_odd_characters_is_a_path(tmp_path):
    path = tmp_path / "50% of #1?" / "store.db"
    PolicyStore.open(path).close()
    assert path.exists()


def test_a_file_that_is_no_database_is_named(tmp_path):
    path = tmp_path / "store.db"
    path.write_text("not a database at all, " * 100)
    with pytest.raises(StoreUnavailable, match=r"store\.db cannot be used .*not a database"):
        PolicyStore.open(path)


def test_a_lock_held_too_long_is_explained(store_path, proposed, monkeypatch):
    monkeypatch.setattr(engine, "PRAGMAS", ("PRAGMA busy_timeout = 1",))
    other = sqlite3.connect(store_path)
    other.execute("BEGIN IMMEDIATE")
    with PolicyStore.open(store_path) as blocked, pytest.raises(StoreUnavailable, match="locked"):
        blocked.runs.start_run("evolve", {})
    other.close()


def test_readers_go_on_while_a_decision_is_open(store, proposed):
    digest = proposed()
    with store._database.deciding():
        assert store.resolve(digest[:6]) == digest
