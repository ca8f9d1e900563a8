"""A migrated store to copy, on both databases, and policies that have come as far as needed.

A test that asks for a `store` or `store_url` runs on SQLite and on PostgreSQL, except those of the
review page, and those that look into the file, `store_path`.
"""

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from postgres_server import NoServer, PostgresServer, Reused, running_server

from policy_store import Origin, PolicyStore
from policy_store.keys import SigningKey, TrustedKeys, new_signing_key

DATABASES = ("sqlite", "postgresql")
REVIEW = Path(__file__).with_name("review")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run on the databases that a test is about; a test that names them itself knows better."""
    names, marks = metafunc.fixturenames, metafunc.definition.iter_markers("parametrize")
    if "store_url" not in names or any(mark.args[0] == "store_url" for mark in marks):
        return
    file_only = "store_path" in names or REVIEW in metafunc.definition.path.parents
    metafunc.parametrize("store_url", DATABASES[:1] if file_only else DATABASES, indirect=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    try:
        with running_server() as server:
            yield server
    except NoServer as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def postgres_store(postgres: PostgresServer) -> Iterator[Reused]:
    with postgres.database() as url:
        PolicyStore.open(url).close()
        yield Reused(url)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "store.db"
    PolicyStore.open(path).close()
    return path


@pytest.fixture
def store_path(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(template, tmp_path / "store.db"))


@pytest.fixture
def store_url(request: pytest.FixtureRequest) -> str:
    """Where a fresh store is: a file path, or the URL of a database."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("store_path"))
    reused: Reused = request.getfixturevalue("postgres_store")
    reused.empty()
    return reused.url


@pytest.fixture
def store(store_url: str) -> Iterator[PolicyStore]:
    with PolicyStore.open(store_url) as opened:
        yield opened


def propose(store: PolicyStore, number: int, **fields: object) -> str:
    values = {
        "name": f"policy-{number}",
        "origin": Origin.MUTATOR,
        "author": "mutator",
        "contract_version": 1,
        "parameters": {"KNEE": float(number)},
    } | fields
    source = "KNEE = 0.5\n\ndef route(request, instances, memory):\n    return 0\n"
    return store.propose(source, **values).digest


def bring_to_evaluated(store: PolicyStore, number: int) -> str:
    digest = propose(store, number)
    store.record_verified(digest, by="verifier")
    store.attach_evidence(digest, {"gain": number / 10}, by="simulator")
    return digest


@pytest.fixture
def proposed(store: PolicyStore) -> Callable[..., str]:
    numbers = itertools.count(1)
    return lambda **fields: propose(store, next(numbers), **fields)


@pytest.fixture
def evaluated(store: PolicyStore) -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: bring_to_evaluated(store, next(numbers))


@pytest.fixture
def approved(store: PolicyStore, evaluated: Callable[[], str]) -> Callable[[], str]:
    return lambda: store.approve(evaluated(), by="ada", note="good evidence").digest


@pytest.fixture
def go_live(store: PolicyStore) -> Callable[..., object]:
    def activate(digest: str, deployment: str = "default") -> object:
        sequence = store.slot(deployment=deployment).sequence
        return store.activate(digest, sequence, by="ada", note="live", deployment=deployment)

    return activate


@pytest.fixture(scope="session")
def prepare() -> Callable[[PolicyStore, int], str]:
    """For tests that open stores of their own."""
    return bring_to_evaluated


@pytest.fixture(scope="session")
def signing_key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return new_signing_key(tmp_path_factory.mktemp("keys"), "ada")


@pytest.fixture(scope="session")
def trusted(signing_key: SigningKey) -> TrustedKeys:
    return TrustedKeys((signing_key.public,))
