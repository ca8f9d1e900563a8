import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import CodeRefused
from sandbox.native.machine_code import MachineCode
from sandbox.native.policy_code import MAX_HOOKS, PolicyCode


def hook_code(name):
    return MachineCode("a" * 64, "b" * 64, {name: f"{name}$1"}, (b"object of " + name.encode(),))


CODE = PolicyCode({name: hook_code(name) for name in ("route", "admit")})


def packed(*codes, magic=b"evolverp", count=None):
    """What another writer might send."""
    parts = [struct.pack("<8sI", magic, len(codes) if count is None else count)]
    for code in codes:
        data = code.to_bytes()
        parts += [struct.pack("<I", len(data)), data]
    return b"".join(parts)


def test_law_bytes_read_back_as_the_same_code():
    assert PolicyCode.from_bytes(CODE.to_bytes()) == CODE
    assert PolicyCode.from_bytes(PolicyCode({}).to_bytes()) == PolicyCode({})
    assert CODE.only(("route", "evict")) == PolicyCode({"route": hook_code("route")})


@given(st.integers(0, len(CODE.to_bytes()) - 1), st.integers(1, 255))
def test_law_a_changed_byte_is_refused_or_seen(place, change):
    data = bytearray(CODE.to_bytes())
    data[place] ^= change
    try:
        read = PolicyCode.from_bytes(bytes(data))
    except CodeRefused:
        return
    assert read != CODE
    assert read.to_bytes() == data


@given(st.integers(0, len(CODE.to_bytes()) - 1))
def test_law_what_is_cut_off_is_refused(length):
    with pytest.raises(CodeRefused):
        PolicyCode.from_bytes(CODE.to_bytes()[:length])


@pytest.mark.parametrize(
    "data",
    [
        packed(hook_code("route"), magic=b"evolver1"),
        packed(hook_code("route"), count=2),
        packed(hook_code("route"), count=MAX_HOOKS + 1),
        packed(hook_code("route"), hook_code("admit")),  # not in order
        packed(hook_code("route"), hook_code("route")),
        packed(MachineCode("a" * 64, "b" * 64, {"admit": "x", "route": "y"}, (b"object",))),
        packed(MachineCode("a" * 64, "b" * 64, {}, ())),
        packed(hook_code("route")) + b"\0",
    ],
)
def test_what_we_would_not_write_is_refused(data):
    with pytest.raises(CodeRefused):
        PolicyCode.from_bytes(data)
