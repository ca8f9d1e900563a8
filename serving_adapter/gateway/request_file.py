"""The request log as a file: a JSON line per request, written without making one wait.

A line has the fields of `request_log.RequestRecord`; NaN becomes null.
"""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path

from serving_adapter.line_file import LineFile
from serving_adapter.request_log import RequestRecord

MAX_WAITING = 100_000
_NAMES = tuple(field.name for field in fields(RequestRecord))


class RequestFile(LineFile[RequestRecord]):
    """An append-only file of request records; call it with each, `close` it at the end.

    Raises:
        AdapterError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, line_of, "request log", "name another file", MAX_WAITING)
        self.start()

    def __call__(self, record: RequestRecord) -> None:
        """Have a record written soon."""
        self.put(record)


def line_of(record: RequestRecord) -> str:
    """A record as one line of JSON."""
    values = {name: getattr(record, name) for name in _NAMES}
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            values[name] = None
    return json.dumps(values, separators=(",", ":")) + "\n"
