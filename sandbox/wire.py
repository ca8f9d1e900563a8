"""Length-prefixed messages on a socket between a parent and its scoring processes.

Only JSON comes back from a process that ran a policy, never pickle, and never more than the cap.
"""

from __future__ import annotations

import json
import socket
import struct

MAX_REPLY_BYTES = 1 << 20
MAX_PAYLOAD_BYTES = 1 << 34

_LENGTH = struct.Struct("<Q")
HEADER_BYTES = _LENGTH.size


class BrokenMessage(ValueError):
    """Too long, cut off, or no JSON."""


def send_bytes(channel: socket.socket, data: bytes) -> None:
    """Write one message, blocking as the socket does."""
    channel.sendall(_LENGTH.pack(len(data)))
    channel.sendall(data)


def send_json(channel: socket.socket, value: object) -> None:
    """Write one JSON message; NaN and infinity are refused.

    Raises:
        ValueError: a number is not finite, or the text is longer than a reply may be.
    """
    data = json.dumps(value, allow_nan=False).encode()
    if len(data) > MAX_REPLY_BYTES:
        raise ValueError("The message is longer than a reply may be.")
    send_bytes(channel, data)


def receive_bytes(channel: socket.socket, limit: int = MAX_PAYLOAD_BYTES) -> bytes | None:
    """Read one message from a blocking socket; None at its end.

    Raises:
        BrokenMessage: longer than `limit`, or cut off.
    """
    header = _read_exactly(channel, HEADER_BYTES)
    if not header:
        return None
    data = _read_exactly(channel, message_length(header, limit))
    if data is None:
        raise BrokenMessage("the message was cut off")
    return bytes(data)


def message_length(header: bytes | bytearray, limit: int) -> int:
    """Length announced by a header.

    Raises:
        BrokenMessage: cut off, or above the limit.
    """
    if len(header) != HEADER_BYTES:
        raise BrokenMessage("the header was cut off")
    (length,) = _LENGTH.unpack(header)
    if length > limit:
        raise BrokenMessage("the message is longer than allowed")
    return int(length)


def parse_json(data: bytes | bytearray) -> object:
    """The JSON value of a message; constants that are not JSON (NaN) are refused.

    Raises:
        BrokenMessage: not JSON, or nested too deeply.
    """
    try:
        value: object = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BrokenMessage("the message is no JSON") from error
    return value


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _read_exactly(channel: socket.socket, length: int) -> bytearray | None:
    """`length` bytes; None when the stream ends before the first, fewer when it is cut off."""
    data = bytearray()
    while len(data) < length:
        piece = channel.recv(min(length - len(data), 1 << 20))
        if not piece:
            return None if not data or length != HEADER_BYTES else data
        data += piece
    return data
