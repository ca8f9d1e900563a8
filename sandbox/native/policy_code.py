"""A policy's machine code as data: that of each of its hooks, side by side.

The bytes are a count and then each hook's own bytes after their length; what `MachineCode` says of
trust holds here, too.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sandbox.errors import CodeRefused
from sandbox.hook_text import hook_text
from sandbox.native.machine_code import MAX_CODE_BYTES, MachineCode
from sandbox.source import PolicySource

MAX_HOOKS = 16
_HEAD, _LENGTH = struct.Struct("<8sI"), struct.Struct("<I")
_MAGIC = b"evolverp"
_BROKEN = "These bytes are no machine code of a policy: compile it again."


@dataclass(frozen=True, slots=True)
class PolicyCode:
    """Machine code of some hooks, by the hook's name; each is linked by itself."""

    hooks: Mapping[str, MachineCode]

    def lacks(self, source: PolicySource, hook: str) -> bool:
        """Is a hook of a source not here, or another one of its name?"""
        code = self.hooks.get(hook)
        return code is None or code.source_digest != hook_text(source, hook).digest

    def only(self, wanted: Collection[str]) -> PolicyCode:
        """That of some of the hooks."""
        return PolicyCode({hook: code for hook, code in self.hooks.items() if hook in wanted})

    def to_bytes(self) -> bytes:
        """One text for one code; `from_bytes` reads it back.

        Raises:
            CodeRefused: it is larger than `from_bytes` would take.
        """
        parts = [_HEAD.pack(_MAGIC, len(self.hooks))]
        for _, code in sorted(self.hooks.items()):
            data = code.to_bytes()
            parts += [_LENGTH.pack(len(data)), data]
        whole = b"".join(parts)
        if len(whole) > MAX_CODE_BYTES or len(self.hooks) > MAX_HOOKS:
            raise CodeRefused("The machine code is too large: make the source smaller.")
        return whole

    @classmethod
    def from_bytes(cls, data: bytes) -> PolicyCode:
        """Read strictly: what `to_bytes` writes, and nothing that differs in one byte.

        Raises:
            CodeRefused: anything else.
        """
        if not _HEAD.size <= len(data) <= MAX_CODE_BYTES:
            raise CodeRefused(_BROKEN)
        magic, count = _HEAD.unpack_from(data)
        if magic != _MAGIC or count > MAX_HOOKS:
            raise CodeRefused(_BROKEN)
        place, codes = _HEAD.size, list[MachineCode]()
        for _ in range(count):
            part, place = _part(data, place)
            codes.append(MachineCode.from_bytes(part))
        names = [min(code.hooks, default="") for code in codes]
        plain = all(len(code.hooks) == 1 for code in codes) and names == sorted(set(names))
        if place != len(data) or not plain:
            raise CodeRefused(_BROKEN)
        return cls(dict(zip(names, codes, strict=True)))


def _part(data: bytes, place: int) -> tuple[bytes, int]:
    """The bytes of a hook, and where the next one's begin."""
    start = place + _LENGTH.size
    if start > len(data):
        raise CodeRefused(_BROKEN)
    end = start + int(_LENGTH.unpack_from(data, place)[0])
    if end > len(data):
        raise CodeRefused(_BROKEN)
    return data[start:end], end
