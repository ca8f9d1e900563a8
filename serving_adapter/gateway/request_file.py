"""Writes the request log to a file, a JSON line per request, without making a request wait.

A thread writes; when it falls behind by `MAX_WAITING` lines, or the disk is full, lines are
dropped and counted. A line has the fields of `request_log.RequestRecord`; NaN becomes null.
"""

from __future__ import annotations

import json
import logging
import math
import os
import queue
import threading
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

from serving_adapter.errors import AdapterError
from serving_adapter.request_log import RequestRecord

MAX_WAITING = 100_000
CLOSE_S = 5.0
_NAMES = tuple(field.name for field in fields(RequestRecord))
_log = logging.getLogger("evolver.gateway")


class RequestFile:
    """An append-only file of request records; call it with each, `close` it at the end.

    Raises:
        AdapterError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            self._descriptor = os.open(path, flags, 0o640)
        except OSError as error:
            raise AdapterError(
                f"The request log {path} cannot be written: {error.strerror}; name another file."
            ) from error
        self.dropped = 0
        self._waiting = queue.Queue[RequestRecord | None](MAX_WAITING)
        self._thread = threading.Thread(target=self._write, name="request-log", daemon=True)
        self._thread.start()

    def __call__(self, record: RequestRecord) -> None:
        """Have a record written soon."""
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            self._drop()

    def close(self) -> None:
        """Write what is left, unless the disk hangs."""
        with suppress(queue.Full):
            self._waiting.put(None, timeout=CLOSE_S)
        self._thread.join(CLOSE_S)
        if not self._thread.is_alive():
            os.close(self._descriptor)

    def _write(self) -> None:
        while (record := self._waiting.get()) is not None:
            try:
                os.write(self._descriptor, line_of(record).encode("ascii"))
            except OSError:
                self._drop()

    def _drop(self) -> None:
        if not self.dropped:
            _log.error("the request log does not take all that is written to it")
        self.dropped += 1


def line_of(record: RequestRecord) -> str:
    """A record as one line of JSON."""
    values = {name: getattr(record, name) for name in _NAMES}
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            values[name] = None
    return json.dumps(values) + "\n"
