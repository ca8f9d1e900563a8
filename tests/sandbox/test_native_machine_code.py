import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import CodeRefused
from sandbox.native.machine_code import MAX_OBJECTS, MachineCode

CODE = MachineCode("a" * 64, "b" * 64, {"route": "r$1", "admit": "a.2"}, (b"first", b"second"))


def packed(**changes):
    """What another writer might send: the header with changes, and the objects."""
    header = {"source": "a" * 64, "toolchain": "b" * 64, "symbols": {"route": "r"}, "sizes": [5]}
    text = json.dumps(header | changes, sort_keys=True, separators=(",", ":")).encode()
    return struct.pack("<8sI", b"evolver1", len(text)) + text + b"first"


def test_law_bytes_read_back_as_the_same_code():
    assert MachineCode.from_bytes(CODE.to_bytes()) == CODE
    assert MachineCode.from_bytes(packed()).objects == (b"first",)


@given(st.integers(0, len(CODE.to_bytes()) - 1), st.integers(1, 255))
def test_law_a_changed_byte_is_refused_or_seen(place, change):
    data = bytearray(CODE.to_bytes())
    data[place] ^= change
    try:
        read = MachineCode.from_bytes(bytes(data))
    except CodeRefused:
        return
    assert read != CODE
    assert read.to_bytes() == data


@given(st.integers(0, len(CODE.to_bytes()) - 1))
def test_law_what_is_cut_off_is_refused(length):
    with pytest.raises(CodeRefused):
        MachineCode.from_bytes(CODE.to_bytes()[:length])


@pytest.mark.parametrize(
    "changes",
    [
        {"sizes": [4]},
        {"sizes": [6]},
        {"sizes": [-5, 10]},
        {"sizes": [5.0]},
        {"sizes": []},
        {"sizes": [1] * (MAX_OBJECTS + 1)},
        {"symbols": {"../route": "r"}},
        {"symbols": {"route": "r\n"}},
        {"source": "A" * 64},
        {"toolchain": 7},
        {"more": 1},
    ],
)
def test_a_header_that_we_would_not_write_is_refused(changes):
    with pytest.raises(CodeRefused):
        MachineCode.from_bytes(packed(**changes))
