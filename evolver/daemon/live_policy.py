"""What serves now, out of the store, loaded as the simulator runs it."""

from __future__ import annotations

from evolver.daemon.live_grounds import Live
from policy_store.gates import measured
from policy_store.records import DEFAULT_DEPLOYMENT, Alias
from policy_store.store import PolicyStore
from sandbox.engine import LoadedPolicy, load_policy
from sandbox.evidence import Evidence
from sandbox.replay import default_policy
from sandbox.verifier import verify


class StoredPolicy:
    """The active policy of a deployment and the one before it; kept until another is active."""

    def __init__(self, store: PolicyStore, deployment: str = DEFAULT_DEPLOYMENT) -> None:
        self._store, self._deployment = store, deployment
        self._key: tuple[str | None, str | None] = None, None
        self._live: Live | None = None

    def __call__(self) -> Live:
        """Raises SandboxError where it cannot be loaded, StoreError without a store."""
        active, before = (
            self._store.slot(alias, self._deployment).digest
            for alias in (Alias.ACTIVE, Alias.LAST_GOOD)
        )
        if self._live is None or self._key != (active, before):
            self._live = self._load(active, before)
            self._key = active, before
        return self._live

    def _load(self, active: str | None, before: str | None) -> Live:
        if active is None:
            return Live("", default_policy())
        replaced = None if before in (None, active) else self._policy(str(before))
        return Live(active, self._policy(active), replaced, self._evidence(active))

    def _policy(self, digest: str) -> LoadedPolicy:
        details = self._store.show(digest)
        source = verify(details.source.text, details.version.name)
        return load_policy(source, dict(details.version.parameters))

    def _evidence(self, digest: str) -> Evidence | None:
        records = self._store.show(digest).evidence
        return measured(records[-1]) if records else None
