"""What a door has learned of answers' lengths, as a file that outlives its process.

Written when the process ends well, and read when it starts: writing while it serves would hold up
requests. One that is killed begins with what was learned by the last good end before. Tenants are
numbers under the deployment's key there, as everywhere.
"""

from __future__ import annotations

import contextlib
import json
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path

from policy_store.files import replace_file
from telemetry.output_lengths import LengthStateError, OutputLengths

NAME = "lengths.json.z"
MOST_BYTES, MOST_PACKED_BYTES = 64 * 2**20, 16 * 2**20

_log = logging.getLogger("evolver.host")


@contextlib.contextmanager
def learned_lengths(folder: Path) -> Iterator[OutputLengths]:
    """What was learned before, or nothing; what is learned while entered is kept in the folder.

    Several processes of one folder keep what the last of them to end has learned.
    """
    path = folder / NAME
    lengths = recalled(path)
    yield lengths
    keep(path, lengths)


def recalled(path: Path) -> OutputLengths:
    """What a file says; nothing where there is none, or where it is damaged."""
    try:
        with path.open("rb") as file:
            packed = file.read(MOST_PACKED_BYTES + 1)
    except FileNotFoundError:
        return OutputLengths()
    except OSError as error:
        _log.warning("lengths of answers are learned anew: %s", error.strerror)
        return OutputLengths()
    try:
        unpacking = zlib.decompressobj()
        text = unpacking.decompress(packed, MOST_BYTES)
        if not unpacking.eof or len(packed) > MOST_PACKED_BYTES:
            raise ValueError("too long, or cut short")
        return OutputLengths.restored(json.loads(text))
    except (ValueError, RecursionError, zlib.error, LengthStateError) as error:
        _log.warning("lengths of answers are learned anew: %s", type(error).__name__)
        return OutputLengths()


def keep(path: Path, lengths: OutputLengths) -> None:
    """Put what was learned in a file, durably or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace_file(path, zlib.compress(json.dumps(lengths.state()).encode("ascii")), 0o600)
    except OSError as error:
        _log.warning("what was learned of lengths is not kept: %s", error.strerror)
