"""What was proposed, who decided, what is live: the record that hosts and people trust.

Reading guide:

1. `lifecycle`: the states of a policy version and the moves between them (pure).
2. `store`: `PolicyStore`, the whole surface; its methods live in `catalog` (proposals, evidence),
   `decisions` (approve, activate, roll back, eject), `trials` (shadow, canary), `hosts` (reports),
   `lineage` (parents and children), `runs` and `audit`.
3. `slots`: how what is live changes, and why its sequence never goes back.
4. `snapshot`: the signed file a serving host reads; needs no database. `statement` is its text,
   `signing` and `keys` make it worth believing.
5. `backup` and `restore` (their file: `backup_format`), `retention`, `verification`: a store
   that lasts.
6. `accounts`, with `sessions`, `links` and `tokens`: who may come in.
7. `rules`: how an approval rule judges (pure); `rule_text` reads one and says it in words,
   `rule_book` keeps them, `rule_application` lets one approve.
8. `review`: the page over it, a package with a reading guide of its own; nothing here imports it.

The main path is in four files: `lifecycle`, `catalog`, `decisions`, `snapshot`.

`records` are what comes out, `errors` what is refused; `tables`, `engine`, `schema` and
`migrations` are the database underneath, `rows` and `intake` its border in each direction, `files`
how files are replaced.

    with PolicyStore.open(home / "store.db") as store:
        version = store.propose(source, name="lpc", origin=Origin.PERSON, author="ada", ...)
        store.record_verified(version.digest, by="verifier")
        store.attach_evidence(version.digest, evidence, by="simulator")
        store.approve(version.digest, by="ada", note="...")
        store.activate(version.digest, store.slot().sequence, by="ada", note="...")
        write_snapshot(home / "active.json", store.snapshot(), load_signing_key(home / "keys"))
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from policy_store.lifecycle import State
    from policy_store.records import Alias, Origin
    from policy_store.snapshot import Snapshot, read_snapshot, write_snapshot
    from policy_store.store import PolicyStore

__all__ = [
    "Alias",
    "Origin",
    "PolicyStore",
    "Snapshot",
    "State",
    "read_snapshot",
    "write_snapshot",
]

_HOMES = {
    "Alias": "records",
    "Origin": "records",
    "PolicyStore": "store",
    "Snapshot": "snapshot",
    "State": "lifecycle",
    "read_snapshot": "snapshot",
    "write_snapshot": "snapshot",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
