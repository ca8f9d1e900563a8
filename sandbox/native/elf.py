"""Reads from an ELF object file which functions it defines and which names it expects elsewhere.

The linker ends the whole process over a symbol that nobody defines, and resolves a name from
anything that the process has loaded; so both are found out before it sees an object. Layout from
the System V ABI: 64-byte file and section headers, 24-byte symbols, all little-endian.
"""

from __future__ import annotations

import platform
import struct
from dataclasses import dataclass

from sandbox.errors import CodeRefused

_FILE = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_IDENT = b"\x7fELF\x02\x01\x01"
_RELOCATABLE = 1
_MACHINES = {"x86_64": 62, "aarch64": 183}
_CONTENT, _SYMBOL_TABLE, _STRINGS, _RELOCATIONS, _NO_BITS, _UNWIND = 1, 2, 3, 4, 8, 0x70000001
_KNOWN = frozenset({0, _CONTENT, _SYMBOL_TABLE, _STRINGS, _RELOCATIONS, _NO_BITS, _UNWIND})
_THREAD_LOCAL, _COMPRESSED = 0x400, 0x800
_RELOCATION_BYTES = 24
_MOST_ZEROS_BYTES, _MOST_ALIGNED_BYTES = 16 << 20, 4096
_UNDEFINED, _FUNCTION, _LOCAL = 0, 2, 0
_MOST_SECTIONS = 4096


@dataclass(frozen=True, slots=True)
class Symbols:
    """Names that an object defines as functions, and names it expects from elsewhere."""

    functions: frozenset[str]
    undefined: frozenset[str]


def symbols_of(data: bytes) -> Symbols:
    """The visible symbols of an object file for this processor.

    Raises:
        CodeRefused: it is no such file.
    """
    try:
        return _read(data)
    except (struct.error, ValueError, IndexError) as error:
        raise CodeRefused("This object file is broken: compile it again.") from error


def _read(data: bytes) -> Symbols:
    sections = _sections(data)
    tables = [one for one in sections if one[1] == _SYMBOL_TABLE]
    if len(tables) != 1:
        raise ValueError("sections")
    symbols = sections.index(tables[0])
    if not all(_relocates(one, symbols, len(sections)) for one in sections):
        raise ValueError("relocations")
    strings = sections[tables[0][6]]
    if strings[1] != _STRINGS:
        raise ValueError("strings")
    names = _content(data, strings)
    functions, undefined = set(), set()
    for place, info, _, section, *_ in _SYMBOL.iter_unpack(_content(data, tables[0])):
        if place == 0 or info >> 4 == _LOCAL:
            continue
        name = names[place : names.index(b"\0", place)].decode("ascii")
        if section == _UNDEFINED:
            undefined.add(name)
        elif info & 15 == _FUNCTION:
            functions.add(name)
    return Symbols(frozenset(functions), frozenset(undefined))


def _sections(data: bytes) -> list[tuple[int, ...]]:
    """Section headers, each within the file."""
    ident, kind, machine, _, _, _, start, _, _, _, _, width, count, _ = _FILE.unpack_from(data)
    expected = _MACHINES.get(platform.machine())
    if not ident.startswith(_IDENT) or kind != _RELOCATABLE or machine != expected:
        raise ValueError("header")
    if width != _SECTION.size or not 0 < count <= _MOST_SECTIONS:
        raise ValueError("section headers")
    table = data[start : start + count * width]
    if len(table) != count * width:
        raise ValueError("section headers")
    sections = list(_SECTION.iter_unpack(table))
    if not all(_is_plain(one) and _fits(one, len(data)) for one in sections):
        raise ValueError("section")
    if sum(one[5] for one in sections if one[1] == _NO_BITS) > _MOST_ZEROS_BYTES:
        raise ValueError("zeros")
    return sections


def _is_plain(section: tuple[int, ...]) -> bool:
    """Of a kind that our compilers write: the linker ends the process over some others, and
    takes names from further symbol tables."""
    kind, flags, align = section[1], section[2], section[8]
    plain = kind in _KNOWN and not flags & (_THREAD_LOCAL | _COMPRESSED)
    return plain and align <= _MOST_ALIGNED_BYTES and align & (align - 1) == 0


def _relocates(section: tuple[int, ...], symbols: int, count: int) -> bool:
    """Whether it is no relocations, or some of a section that there is, by the one symbol table."""
    if section[1] != _RELOCATIONS:
        return True
    whole = section[9] == _RELOCATION_BYTES and section[5] % _RELOCATION_BYTES == 0
    return whole and section[6] == symbols and 0 < section[7] < count


def _fits(section: tuple[int, ...], length: int) -> bool:
    return section[1] in (0, _NO_BITS) or section[4] + section[5] <= length


def _content(data: bytes, section: tuple[int, ...]) -> bytes:
    return data[section[4] : section[4] + section[5]]
