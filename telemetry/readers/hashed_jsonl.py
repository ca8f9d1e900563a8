"""JSON lines with prefix-block hashes: Mooncake (512-token blocks) and Qwen-Bailian (16)."""

from __future__ import annotations

from typing import Any

from telemetry.blocks import Blocks
from telemetry.errors import RowError
from telemetry.readers.rows import Empty, Rows, TraceFormat, finish, numbers
from telemetry.readers.source import Json, Source, parse_json
from telemetry.trace import Trace

MOONCAKE_BLOCK_TOKENS = 512
QWEN_BLOCK_TOKENS = 16
_KEYS = ("timestamp", "input_length", "output_length", "hash_ids")
_ROOT = -1


def read_mooncake(source: Source, *, empty_outputs: Empty = "drop") -> Trace:
    """Read Mooncake's lines; arrivals sit on the publisher's ticks, as recorded."""
    lines, items = _items(source, _KEYS)
    rows = _rows(source, lines, items, 1e-3, MOONCAKE_BLOCK_TOKENS)
    return finish(rows, MOONCAKE, source, empty_outputs)


def read_qwen(source: Source, *, empty_outputs: Empty = "drop") -> Trace:
    """Read Qwen-Bailian's lines: sessions follow the parent links, arrivals stay open."""
    lines, items = _items(source, (*_KEYS, "chat_id", "parent_chat_id", "turn"))
    rows = _rows(source, lines, items, 1.0, QWEN_BLOCK_TOKENS)
    for key in ("chat_id", "parent_chat_id"):
        numbers(source.label, lines, key, [item[key] for item in items])
    rows.session = _sessions(items)
    turns = numbers(source.label, lines, "turn", [item["turn"] for item in items])
    rows.turn = [max(0, int(turn) - 1) for turn in turns]
    rows.notes.append("Turns arrive at their recorded times: service times are not in the file, "
                      "so think times are unknown.")
    return finish(rows, QWEN, source, empty_outputs)


def _items(source: Source, keys: tuple[str, ...]) -> tuple[list[int], list[dict[str, Any]]]:
    lines: list[int] = []
    items: list[dict[str, Any]] = []
    for number, text in source.lines():
        if not text.strip():
            continue
        item = parse_json(text, source.label, number)
        if not isinstance(item, dict) or not all(key in item for key in keys):
            raise RowError(source.label, number, f"a field of {', '.join(keys)} is missing",
                           "drop the line or check --format")
        _check_hashes(source.label, number, item["hash_ids"])
        lines.append(number)
        items.append({key: item[key] for key in keys})
    return lines, items


def _check_hashes(where: str, line: int, hashes: Json) -> None:
    if not isinstance(hashes, list) or not all(
            type(block) is int and 0 <= block < 2**62 for block in hashes):
        raise RowError(where, line, "hash_ids is not a list of whole numbers from 0",
                       "drop or mend the line")


def _rows(
    source: Source, lines: list[int], items: list[dict[str, Any]], unit_s: float, block: int
) -> Rows:
    columns = [numbers(source.label, lines, key, [item[key] for item in items])
               for key in _KEYS[:3]]
    blocks = Blocks.of_lists([item["hash_ids"] for item in items], block)
    return Rows(source.label, lines, columns[0] * unit_s, columns[1], columns[2], blocks=blocks)


def _sessions(items: list[dict[str, Any]]) -> list[Any]:
    """The root chat of each line; a parent outside the file starts a session of its own."""
    root: dict[Any, Any] = {}
    for item in items:
        parent = item["parent_chat_id"]
        root[item["chat_id"]] = item["chat_id"] if parent == _ROOT else root.get(parent, parent)
    return [root[item["chat_id"]] for item in items]


def _looks_like(source: Source, qwen: bool) -> bool:
    if source.is_tar or not source.head or not source.head[0].startswith("{"):
        return False
    first = source.head[0]
    return all(f'"{key}"' in first for key in _KEYS) and ('"parent_chat_id"' in first) == qwen


MOONCAKE = TraceFormat(
    name="mooncake", title="Mooncake trace (JSON lines)", zero="file",
    clock="milliseconds, zero as in the file", block_tokens=MOONCAKE_BLOCK_TOKENS, scope="global",
    recognises=lambda source: _looks_like(source, False), read=read_mooncake,
    source="https://github.com/kvcache-ai/Mooncake", licence="Apache-2.0")
QWEN = TraceFormat(
    name="qwen_bailian", title="Qwen-Bailian usage trace (JSON lines)", zero="file",
    clock="seconds, zero as in the file", block_tokens=QWEN_BLOCK_TOKENS, scope="global",
    recognises=lambda source: _looks_like(source, True), read=read_qwen,
    source="https://github.com/alibaba-edu/qwen-bailian-usagetraces-anon", licence="see repository")
