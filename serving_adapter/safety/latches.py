"""What keeps an ejected policy out: one small file per digest, and one file that stops them all.

    STATE/kill                 the kill switch: while it is there, no policy decides
    STATE/latches/DIGEST.json  this policy was ejected, when and why
    STATE/dumps/               what the host knew at each ejection
    STATE/log.jsonl            who enabled what, and why; only ever appended to

Every process of a host polls these names, so what one ejects is out in all of them, before and
after a restart, whatever sequence names it. Only a person removes them, with `evolver host enable`;
neither a store nor a snapshot is needed for anything here.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import time
from pathlib import Path

from policy_store.files import open_file, replace_file, sync
from serving_adapter.safety.ejection import Ejection, read_ejection

EVERYTHING = "everything"
MAX_LATCH_BYTES = 4096
_NAME = re.compile(r"([0-9a-f]{64})\.json")

_log = logging.getLogger("evolver.host")


class LatchFolder:
    """The latch files of one host. No method raises for a disk that fails."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._folder = state / "latches"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            _log.error("latches cannot be kept in %s: %s", state, error.strerror)

    @property
    def kill_file(self) -> Path:
        """While it exists, the built-in default decides."""
        return self.state / "kill"

    @property
    def killed(self) -> bool:
        """Whether the kill switch is thrown, by whatever made the file."""
        return os.path.lexists(self.kill_file)

    def kill(self, reason: str) -> bool:
        """Throw the kill switch for every process of this host; whether it is on disk."""
        return self.killed or _replace(self.kill_file, reason + "\n")

    def write(self, ejection: Ejection) -> bool:
        """Keep a policy out; whether the file is there. Fast: `sync` makes it survive a power cut.

        A latch that exists says when and why it all began, so it stays as it is.
        """
        path = self._folder / f"{ejection.digest}.json"
        return path.exists() or _replace(path, ejection.to_json() + "\n")

    def sync(self) -> None:
        """Have the disk hold what was written."""
        written = [self._folder / f"{digest}.json" for digest in self.digests() or ()]
        for path in (*written, self.kill_file, self._folder, self.state):
            with contextlib.suppress(OSError):
                sync(path)

    def digests(self) -> frozenset[str] | None:
        """Policies that are kept out; None when the folder cannot be read."""
        try:
            matches = map(_NAME.fullmatch, os.listdir(self._folder))
        except OSError:
            return None
        return frozenset(match[1] for match in matches if match)

    def read(self, digest: str) -> Ejection:
        """Why a policy is kept out."""
        try:
            with open_file(self._folder / f"{digest}.json") as file:
                text = file.read(MAX_LATCH_BYTES).decode("utf-8", "replace")
            return read_ejection(text, digest)
        except OSError:
            return read_ejection("", digest)

    def enable(self, what: str, by: str, note: str) -> Ejection | None:
        """A person lets a policy (or, with `EVERYTHING`, all that have no latch) back in.

        The log is written first: nothing is enabled that is not on record.

        Args:
            what: the full digest of a latched policy, or `EVERYTHING` for the kill switch.
            by: who.
            note: why.

        Returns:
            The ejection that is lifted, None for the kill switch.

        Raises:
            OSError: the log cannot be written, or the file not removed.
        """
        ejection = None if what == EVERYTHING else self.read(what)
        entry = {"unix_s": time.time(), "enabled": what, "by": by, "note": note}
        if ejection is not None:
            entry |= {"kind": ejection.kind.value, "reason": ejection.reason}
        self._append(json.dumps(entry))
        path = self.kill_file if ejection is None else self._folder / f"{what}.json"
        path.unlink(missing_ok=True)
        self.sync()
        return ejection

    def _append(self, line: str) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        handle = os.open(self.state / "log.jsonl", flags, 0o600)
        try:
            os.write(handle, line.encode("ascii") + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)


def _replace(path: Path, text: str) -> bool:
    """Write a file whole or not at all, for its owner only; whether it worked."""
    try:
        replace_file(path, text.encode("ascii", "replace"), 0o600, durable=False)
    except OSError as error:
        _log.error("%s cannot be written: %s", path, error.strerror)
        return False
    return True
