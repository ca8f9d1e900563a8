"""The page of memory and the messages through which a host and its side process talk.

One page holds the request's row, the policy's memory and the instances' rows; the host writes it
before it asks, so no byte of a row goes through a socket. Questions and answers are one packet
each, of fixed size, on a socket that keeps packets apart. The page cannot shrink or grow.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sandbox import contract
from sandbox.records import dtype_of

ASK = struct.Struct("=qqqq")
"""Number, count of instances, rotation, fuel."""
ANSWER = struct.Struct("=qqq")
"""Number, the frame's status, the choice."""
MAX_INSTANCES = 4096

_REQUEST = dtype_of(contract.Request)
_INSTANCE = dtype_of(contract.Instance)
_MEMORY_AT = -(-_REQUEST.itemsize // 64) * 64
_ROWS_AT = _MEMORY_AT + 8 * contract.MEMORY_SLOTS
PAGE_BYTES = _ROWS_AT + MAX_INSTANCES * _INSTANCE.itemsize

Rows = npt.NDArray[np.void]
Memory = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """Views of the shared page; `request` has one row, `instances` room for `MAX_INSTANCES`."""

    request: Rows
    memory: Memory
    instances: Rows
    data: memoryview

    def put(self, request: Rows, instances: Rows, memory: Memory) -> None:
        """Write what the next question is about; all contiguous."""
        for place, given in ((0, request), (_MEMORY_AT, memory), (_ROWS_AT, instances)):
            self.data[place : place + given.nbytes] = given.tobytes()


def new_page() -> tuple[int, Page]:
    """A fresh page and its descriptor, which the caller closes once it is shared.

    Raises:
        OSError, AttributeError: the system has no such memory (it is not Linux).
    """
    descriptor = os.memfd_create("evolver-side", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, PAGE_BYTES)
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    # A page that shrank under its reader would kill it.
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor, views_of(mmap.mmap(descriptor, PAGE_BYTES))


def views_of(data: mmap.mmap) -> Page:
    """The views of a page's memory."""
    return Page(
        np.frombuffer(data, _REQUEST, 1),
        np.frombuffer(data, np.float64, contract.MEMORY_SLOTS, _MEMORY_AT),
        np.frombuffer(data, _INSTANCE, MAX_INSTANCES, _ROWS_AT),
        memoryview(data),
    )
