"""What the host knew when it ejected a policy: one bounded file of numbers per ejection.

    {"schema": 1, "ejection": {...}, "counters": {...},
     "decisions": [[number, choice|null, microseconds, fault], ...],       newest first
     "inputs": [{"number", "sequence", "digest", "rotation", "fuel",
                 "request": {field: number}, "instances": {field: [number, ...]},
                 "memory": {slot: number}}, ...]}                          newest first, what fits

Fields that miss everywhere are left out, a missing float among others is null. Names that a client
chose are in no record: `tenant`, `session` and `prefix_key` are numbers under a key that this
process drew and nobody else has.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from policy_store.files import replace_file
from sandbox import contract
from sandbox.records import dtype_of
from serving_adapter.decision import DecisionInput
from serving_adapter.safety.ejection import Ejection

MAX_DUMP_BYTES = 32 * 1024
KEPT_DUMPS = 32

_log = logging.getLogger("evolver.host")


def dump_text(
    ejection: Ejection, counters: Mapping[str, float], recent: Sequence[DecisionInput]
) -> str:
    """The dump as JSON of at most `MAX_DUMP_BYTES`; `recent` is oldest first."""
    newest = recent[::-1]
    decisions = [
        [given.number, given.choice, round(given.call_s * 1e6, 1), given.fault] for given in newest
    ]
    head = {
        "schema": 1,
        "ejection": asdict(ejection),
        "counters": dict(counters),
        "decisions": decisions,
    }
    while len(text := _compact(head)) > MAX_DUMP_BYTES // 2 and decisions:
        del decisions[-max(1, len(decisions) // 8) :]
    room = MAX_DUMP_BYTES - len(text) - len(',"inputs":[]')
    return f'{text[:-1]},"inputs":[{",".join(_fitting(newest, room))}]}}'


def _fitting(newest: Iterable[DecisionInput], room_bytes: int) -> Iterable[str]:
    for given in newest:
        text = _compact(_input_of(given))
        room_bytes -= len(text) + 1
        if room_bytes < 0:
            return
        yield text


def _input_of(given: DecisionInput) -> dict[str, object]:
    memory = np.frombuffer(given.memory)
    return {
        "number": given.number,
        "sequence": given.sequence,
        "digest": given.digest[:12],
        "rotation": given.rotation,
        "fuel": given.fuel,
        "request": {
            name: values[0] for name, values in _columns(given.request, contract.Request).items()
        },
        "instances": _columns(given.instances, contract.Instance),
        "memory": {str(slot): _plain(memory[slot]) for slot in np.flatnonzero(memory)},
    }


def _columns(raw: bytes, record: type[contract.Record]) -> dict[str, list[object]]:
    """Fields that are there for some row."""
    rows = np.frombuffer(raw, dtype_of(record))
    found: dict[str, list[object]] = {}
    for name in rows.dtype.names or ():
        column = rows[name]
        if not _missing(column):
            found[name] = [_plain(value) for value in column]
    return found


def _missing(column: npt.NDArray[np.generic]) -> bool:
    if column.dtype.kind == "f":
        return bool(np.isnan(column).all())
    return bool((column == (-1 if column.dtype.kind == "i" else False)).all())


def _plain(value: np.generic) -> object:
    """A number as JSON has it; floats come back exactly."""
    plain = value.item()
    return plain if not isinstance(plain, float) or np.isfinite(plain) else None


def _compact(body: object) -> str:
    return json.dumps(body, separators=(",", ":"), allow_nan=False)


def write_dump(folder: Path, ejection: Ejection, text: str) -> Path | None:
    """Write a dump and drop the oldest beyond `KEPT_DUMPS`; None when the disk refuses."""
    moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime(ejection.unix_s))
    part_s = int(ejection.unix_s % 1 * 1e6)
    path = folder / f"{moment}.{part_s:06d}-{ejection.kind.value}-{ejection.digest[:12]}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace_file(path, text.encode("ascii"), 0o600, durable=False)
        for old in dumps_in(folder)[:-KEPT_DUMPS]:
            old.unlink(missing_ok=True)
    except OSError as error:
        _log.error("the dump %s cannot be written: %s", path.name, error.strerror)
        return None
    return path


def dumps_in(folder: Path) -> list[Path]:
    """The dumps of a host, oldest first."""
    return sorted(folder.glob("*.json"))
