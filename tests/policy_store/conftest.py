"""A migrated store to copy, and policies that have come as far as a test needs."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from policy_store import Origin, PolicyStore
from policy_store.keys import SigningKey, TrustedKeys, new_signing_key


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "store.db"
    PolicyStore.open(path).close()
    return path


@pytest.fixture
def store_path(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(template, tmp_path / "store.db"))


@pytest.fixture
def store(store_path: Path) -> Iterator[PolicyStore]:
    with PolicyStore.open(store_path) as opened:
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
