"""Machine code as data: the object files of some functions, and what they were made from.

The bytes are a header of JSON and the object files after it; nothing in them is ever unpickled,
and nothing runs before `linking.link` has looked at it.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.errors import CodeRefused
from sandbox.identity import canonical_json

MAX_CODE_BYTES = 16 << 20
MAX_HEADER_BYTES = 64 << 10
MAX_OBJECTS = 16

_HEAD = struct.Struct("<8sI")
_MAGIC = b"evolver1"
_FIELDS = {"source", "toolchain", "symbols", "sizes"}
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FUNCTION = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SYMBOL = re.compile(r"[A-Za-z0-9_.$]{1,1024}")
_BROKEN = "These bytes are no machine code of ours: compile it again."


@dataclass(frozen=True, slots=True)
class MachineCode:
    """Object files that define some functions.

    Attributes:
        source_digest: of what was compiled, 64 hex digits; of a hook see `HookText`.
        toolchain: digest of the compiler, its version and the processor it compiled for.
        symbols: function (a hook, a kernel's entry) to the symbol that is its code.
        objects: object files, which together define these symbols.
    """

    source_digest: str
    toolchain: str
    symbols: Mapping[str, str]
    objects: tuple[bytes, ...]

    @property
    def hooks(self) -> frozenset[str]:
        """Names of the functions."""
        return frozenset(self.symbols)

    def to_bytes(self) -> bytes:
        """One text for one code; `from_bytes` reads it back.

        Raises:
            CodeRefused: it is larger than `from_bytes` would take.
        """
        header = {
            "source": self.source_digest,
            "toolchain": self.toolchain,
            "symbols": dict(self.symbols),
            "sizes": [len(one) for one in self.objects],
        }
        text = canonical_json(header).encode()
        data = b"".join((_HEAD.pack(_MAGIC, len(text)), text, *self.objects))
        if len(text) > MAX_HEADER_BYTES or len(data) > MAX_CODE_BYTES:
            raise CodeRefused("The machine code is too large: make the source smaller.")
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> MachineCode:
        """Read strictly: what `to_bytes` writes, and nothing that differs in one byte.

        Raises:
            CodeRefused: anything else.
        """
        if not _HEAD.size < len(data) <= MAX_CODE_BYTES:
            raise CodeRefused(_BROKEN)
        magic, length = _HEAD.unpack_from(data)
        start = _HEAD.size + length
        if magic != _MAGIC or length > MAX_HEADER_BYTES or start > len(data):
            raise CodeRefused(_BROKEN)
        header = _parse(data[_HEAD.size : start])
        objects = []
        for size in header["sizes"]:
            objects.append(data[start : start + size])
            start += size
        if start != len(data):
            raise CodeRefused(_BROKEN)
        return cls(header["source"], header["toolchain"], header["symbols"], tuple(objects))


def _parse(text: bytes) -> dict[str, Any]:
    """The header, if it is one that `to_bytes` writes."""
    try:
        header = json.loads(text)
        exact = isinstance(header, dict) and canonical_json(header).encode() == text
    except (ValueError, RecursionError) as error:
        raise CodeRefused(_BROKEN) from error
    if not exact or set(header) != _FIELDS or not _is_plausible(header):
        raise CodeRefused(_BROKEN)
    return dict(header)


def _is_plausible(header: Mapping[str, Any]) -> bool:
    symbols, sizes = header["symbols"], header["sizes"]
    digests = (header["source"], header["toolchain"])
    return (
        all(type(x) is str and _DIGEST.fullmatch(x) for x in digests)
        and type(symbols) is dict
        and len(symbols) <= MAX_OBJECTS
        and all(_FUNCTION.fullmatch(name) for name in symbols)
        and all(type(one) is str and _SYMBOL.fullmatch(one) for one in symbols.values())
        and type(sizes) is list
        and len(sizes) <= MAX_OBJECTS
        and all(type(size) is int and 0 < size <= MAX_CODE_BYTES for size in sizes)
    )
