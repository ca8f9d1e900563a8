"""Opening a database: settings that hold on every connection, and clear refusals."""

import pytest
from postgres_server import raw_connection
from sqlalchemy import text
from sqlalchemy.engine import make_url

from policy_store import PolicyStore, engine
from policy_store.errors import InvalidInput, StoreUnavailable, UnknownRun

ON_SQLITE = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)


@ON_SQLITE
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


def test_a_file_that_was_moved_away_is_missed_not_made_again_and_used_once_it_is_back(store_path):
    with PolicyStore.open(store_path) as store:
        run = store.runs.start_run("evolve", {})
        away = store_path.rename(store_path.with_name("away"))
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="its file is gone"):
                store.runs.list_runs()
        assert not store_path.exists()
        away.rename(store_path)
        assert store.runs.list_runs()[0] == run


def test_another_file_in_its_place_is_the_store_from_then_on(store_path, tmp_path):
    with PolicyStore.open(tmp_path / "other") as other:
        run = other.runs.start_run("evolve", {})
    with PolicyStore.open(store_path) as store:
        assert not store.runs.list_runs()
        (tmp_path / "other").replace(store_path)
        assert store.runs.list_runs()[0] == run


def test_a_lock_held_too_long_is_explained(store, store_url, monkeypatch):
    monkeypatch.setattr(engine, "PRAGMAS", ("PRAGMA busy_timeout = 1",))
    monkeypatch.setitem(engine.SESSION, "lock_timeout", 1)
    refusal = pytest.raises(StoreUnavailable, match=r"stayed locked .* another process")
    with PolicyStore.open(store_url) as blocked, store._database.deciding(), refusal:
        blocked.runs.start_run("evolve", {})
    store.runs.start_run("evolve", {})


@ON_POSTGRESQL
def test_a_decider_that_went_silent_blocks_nobody_for_ever(store, store_url, monkeypatch):
    monkeypatch.setitem(engine.SESSION, "idle_in_transaction_session_timeout", 50)
    with PolicyStore.open(store_url) as silent:
        with pytest.raises(StoreUnavailable, match="cannot be used"), silent._database.deciding():
            run = store.runs.start_run("evolve", {})
        assert silent.runs.list_runs() == (run,)


@ON_POSTGRESQL
def test_a_question_that_takes_too_long_is_given_up(store_url, monkeypatch):
    monkeypatch.setitem(engine.SESSION, "statement_timeout", 200)
    refusal = pytest.raises(StoreUnavailable, match=r"gave up .*less busy")
    with PolicyStore.open(store_url) as store, refusal, store._database.reading() as session:
        session.execute(text("SELECT pg_sleep(60)"))


@ON_POSTGRESQL
def test_what_the_url_says_goes_before_what_is_usual(store_url):
    given = make_url(store_url).update_query_dict({"options": "-c lock_timeout=7"})
    opened = PolicyStore.open(given.render_as_string(hide_password=False))
    with opened as store, store._database.reading() as session:
        assert session.scalar(text("SHOW lock_timeout")) == "7ms"
        assert session.scalar(text("SHOW statement_timeout")) == "1min"


@ON_POSTGRESQL
def test_connections_that_were_cut_are_made_again(store, store_url, evaluated):
    policy = evaluated()
    cut = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    refusal = pytest.raises(StoreUnavailable, match="check that its server runs")
    with refusal, store._database.deciding(), raw_connection(store_url) as other:
        other.execute(cut)
    assert store.approve(policy, by="ada", note="good").digest == policy
    assert store.audit.verify().intact


def test_a_server_that_is_not_there_is_named_without_the_password(tmp_path):
    with pytest.raises(StoreUnavailable, match="check that its server runs") as refused:
        PolicyStore.open(f"postgresql://ada:secret@/evolver?host={tmp_path}")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("run", ["nul \0", "half a pair \ud800"])
def test_text_that_no_database_holds_is_refused(store, run):
    with pytest.raises((InvalidInput, UnknownRun)):
        store.runs.get_run(run)
    assert store.runs.list_runs() == ()


def test_readers_go_on_while_a_decision_is_open(store, proposed):
    digest = proposed()
    with store._database.deciding():
        assert store.resolve(digest[:6]) == digest


def test_a_new_file_is_its_owners_alone_with_all_beside_it(tmp_path):
    with PolicyStore.open(tmp_path / "store.db") as store:
        store.runs.start_run("evolve", {})
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("store.db", "store.db-wal", "store.db-shm"), 0o600)
