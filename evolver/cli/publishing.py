"""Writes the signed snapshot that serving hosts follow, under the keys of a home folder.

HOME/active.json          the snapshot; active-NAME.json of another deployment than the usual
HOME/keys/signing.pem     the key that signs it, made when it is first needed
HOME/trusted_keys.json    the keys that hosts of this home trust
"""

from __future__ import annotations

import getpass
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from evolver.cli.failures import Misused

if TYPE_CHECKING:
    from evolver.cli.screen import Screen
    from policy_store.keys import SigningKey
    from policy_store.snapshot import Snapshot
    from policy_store.store import PolicyStore

VALID_DAYS = 30
USUAL = "default"  # the deployment that nobody named
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def snapshot_path(home: Path, deployment: str = USUAL) -> Path:
    """The file from which serving hosts of a deployment read what is active.

    Raises:
        Misused: a deployment with such a name has no file.
    """
    if not _NAME.fullmatch(deployment):
        raise Misused(f"{deployment!r} is no name of a deployment; give letters and digits.")
    return home / ("active.json" if deployment == USUAL else f"active-{deployment}.json")


def keys_folder(home: Path) -> Path:
    """Where the signing key is."""
    return home / "keys"


def trust_path(home: Path) -> Path:
    """The trust file of hosts that share this home."""
    return home / "trusted_keys.json"


def state_folder(home: Path, deployment: str) -> Path:
    """What the serving host of a deployment remembers over restarts."""
    return home / "hosts" / deployment


def user_name() -> str:
    """Who runs this.

    Raises:
        Misused: nobody knows.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        raise Misused("Nobody knows who you are here; say so with --by NAME.") from None


def signing_key(home: Path, screen: Screen, owner: str) -> SigningKey:
    """The key of this home; without one, a new one, which hosts of this home trust at once.

    Raises:
        KeyProblem: there is one that cannot be used.
    """
    from policy_store.errors import KeyMissing
    from policy_store.keys import load_signing_key

    try:
        return load_signing_key(keys_folder(home), owner)
    except KeyMissing:
        return make_key(home, screen, owner)


def make_key(home: Path, screen: Screen, owner: str) -> SigningKey:
    """A new signing key; one that is there already is put aside and stays trusted."""
    from policy_store.keys import new_signing_key, read_trusted, write_trusted

    trusted = read_trusted(trust_path(home))
    key = new_signing_key(keys_folder(home), owner)
    write_trusted(trust_path(home), trusted.with_key(key.public))
    screen.note(
        f"made signing key {key.public.id} in {keys_folder(home)}; hosts that read "
        f"{trust_path(home)} trust it"
    )
    return key


def publish(
    store: PolicyStore,
    home: Path,
    key: SigningKey,
    days: int = VALID_DAYS,
    deployment: str = USUAL,
) -> Snapshot:
    """Sign and write what is active now.

    Raises:
        SnapshotError: what is in the store, or already there, forbids it.
    """
    from policy_store.errors import SnapshotStale
    from policy_store.snapshot import write_snapshot

    path, valid_for = snapshot_path(home, deployment), timedelta(days=days)
    snapshot = store.snapshot(deployment, valid_for)
    while True:
        try:
            return write_snapshot(path, snapshot, key)
        except SnapshotStale:
            newer = store.snapshot(deployment, valid_for)
            if newer.sequence <= snapshot.sequence:
                raise
            # Somebody decided, and published that, between our reading and our writing.
            snapshot = newer


def publish_changes(
    store: PolicyStore, home: Path, key: SigningKey, deployment: str = USUAL
) -> Snapshot | None:
    """Have the file that hosts follow say what the store says, as after a crash between the two.

    None, and nothing is written, when it says so already: its term stays as it was chosen.

    Raises:
        SnapshotError: what is in the store, or already there, forbids it.
    """
    from policy_store.snapshot import present_snapshot

    there = present_snapshot(snapshot_path(home, deployment), key.public)
    wanted = store.snapshot(deployment)
    if _said(there) == _said(wanted) or (there is None and wanted.sequence == 0):
        return None
    return publish(store, home, key, deployment=deployment)


def _said(snapshot: Snapshot | None) -> object:
    """What hosts would do by it."""
    if snapshot is None:
        return None
    places = {place: policy.digest for place, policy in snapshot.named.items()}
    weight = snapshot.canary.weight if snapshot.canary else None
    return snapshot.deployment, snapshot.sequence, places, weight
