"""Length-prefixed messages on a socket between a parent and the processes that work for it.

To a child goes JSON with some bytes attached; from a child come bounded bytes, never pickle: one
that marks a reply or a fault, then the reply itself or the fault's name and place.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping

MAX_PAYLOAD_BYTES = 1 << 34
MAX_FAULT_BYTES = 256
MAX_NOTE_BYTES = 1 << 16  # of a child that says what it gave up

REPLY, FAULT = b"\0", b"\1"
_LENGTH = struct.Struct("<Q")
HEADER_BYTES = _LENGTH.size


class BrokenMessage(ValueError):
    """Too long, cut off, or no JSON."""


def framed(data: bytes) -> bytes:
    """A message as it travels: its length, then itself."""
    return _LENGTH.pack(len(data)) + data


def packed_job(message: Mapping[str, object], attachment: bytes) -> bytes:
    """A job for a child; NaN and infinity are refused.

    Raises:
        ValueError: a number is not finite.
    """
    return framed(framed(json.dumps(message, allow_nan=False).encode()) + attachment)


def unpacked_job(data: bytes) -> tuple[Mapping[str, object], bytes]:
    """Message and attachment of a job."""
    end = HEADER_BYTES + message_length(data[:HEADER_BYTES], len(data))
    message: Mapping[str, object] = json.loads(data[HEADER_BYTES:end])
    return message, data[end:]


def send_bytes(channel: socket.socket, data: bytes) -> None:
    """Write one message, blocking as the socket does."""
    channel.sendall(_LENGTH.pack(len(data)))
    channel.sendall(data)


def send_json(channel: socket.socket, value: object) -> None:
    """Write one JSON message; NaN and infinity are refused."""
    send_bytes(channel, json.dumps(value, allow_nan=False).encode())


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


def _read_exactly(channel: socket.socket, length: int) -> bytearray | None:
    """`length` bytes; None when the stream ends before the first, fewer when it is cut off."""
    data = bytearray()
    while len(data) < length:
        piece = channel.recv(min(length - len(data), 1 << 20))
        if not piece:
            return None if not data or length != HEADER_BYTES else data
        data += piece
    return data
