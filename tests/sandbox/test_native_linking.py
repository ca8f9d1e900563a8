import ctypes
import faulthandler
import gc
import os
import signal
import struct
import weakref
from dataclasses import replace

import pytest
from llvmlite import binding

from sandbox import contract
from sandbox.compiled import build_policy, link_policy
from sandbox.engine import load_policy
from sandbox.errors import CodeRefused
from sandbox.frame import NATIVE, Caller
from sandbox.native.elf import symbols_of
from sandbox.native.linking import link
from sandbox.native.machine_code import MachineCode
from sandbox.native.policy_code import PolicyCode
from sandbox.records import new_rows
from sandbox.verifier import verify

HOOK = "define i32 @{name}(i64* %answer, i8** %error, i64 %frame) {{\n{body}\n ret i32 0\n}}\n"
ANSWER = " store i64 42, i64* %answer"
LIMIT = "LIMIT = 5.0  # tune: 0 .. 10\n"
ROUTE = "def route(request, instances, memory):\n    return HOLD if request.age_s < LIMIT else 3\n"


def compiled(text):
    """An object file of some assembly."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine()
    return machine.emit_object(binding.parse_assembly(text))


def hook(body=ANSWER, name="hook", before=""):
    return compiled(before + HOOK.format(name=name, body=body))


def code(*objects, **symbols):
    return MachineCode("a" * 64, "b" * 64, symbols, objects)


def call(address):
    answer, error = ctypes.c_int64(), ctypes.c_void_p()
    NATIVE(address)(ctypes.byref(answer), ctypes.byref(error), 0)
    return answer.value


@pytest.fixture(scope="module")
def policy():
    source = verify(LIMIT + ROUTE)
    return source, build_policy(source)


def test_what_is_linked_can_be_called_and_calls_across_its_objects():
    other = " %x = call i32 @other(i64* %answer, i8** %error, i64 %frame)"
    declared = "declare i32 @other(i64*, i8**, i64)\n"
    linked = link(code(hook(other, "hook", declared), hook(name="other"), route="hook"))
    assert call(linked.addresses["route"]) == 42


def test_the_owners_death_frees_the_code():
    linked = link(code(hook(), route="hook"))
    engine = weakref.ref(linked._engine)
    assert engine() is not None
    del linked
    gc.collect()
    assert engine() is None


@pytest.mark.parametrize("name", ["system", "PyRun_SimpleString", "dlopen", "nobody_has_this"])
def test_a_name_that_is_not_on_the_list_is_refused(name):
    declared = f"declare i32 @{name}(i8*)\n"
    with pytest.raises(CodeRefused, match=name):
        link(code(hook(f" %x = call i32 @{name}(i8* null)", before=declared), route="hook"))


def test_a_function_that_is_not_there_is_refused_before_the_linker_ends_the_process():
    with pytest.raises(CodeRefused, match="lacks"):
        link(code(hook(), route="other"))


def test_freeing_what_nobody_owns_ends_the_process():
    declared = "declare void @NRT_MemInfo_call_dtor(i8*)\n"
    body = " call void @NRT_MemInfo_call_dtor(i8* null)"
    linked = link(code(hook(body, before=declared), route="hook"))
    if (pid := os.fork()) == 0:
        faulthandler.disable()
        call(linked.addresses["route"])
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGABRT


@pytest.mark.parametrize("length", [0, 10, 63, 64, 200, -1])
def test_a_broken_object_is_refused(length):
    with pytest.raises(CodeRefused):
        symbols_of(hook()[:length])


@pytest.mark.parametrize(("offset", "value"), [(4, 1), (5, 2), (16, 2), (18, 8), (40, 255)])
def test_an_object_of_another_kind_or_machine_is_refused(offset, value):
    data = bytearray(hook())
    struct.pack_into("<B", data, offset, value)
    with pytest.raises(CodeRefused):
        symbols_of(bytes(data))


def test_a_policy_decides_alike_after_its_code_went_through_bytes(policy):
    source, made = policy
    linked = link_policy(source, PolicyCode.from_bytes(made.to_bytes()), {"LIMIT": 0.0})
    rows = new_rows(contract.Request, 1), new_rows(contract.Instance, 2)
    assert Caller(linked).route(*rows) == 3
    assert Caller(linked.with_parameters({"LIMIT": 9.0})).route(*rows) == -1


def test_code_of_another_source_or_toolchain_or_without_a_hook_is_refused(policy):
    source, made = policy
    other = verify(ROUTE.replace("LIMIT", "4"))
    with pytest.raises(CodeRefused, match="another policy"):
        load_policy(other, code=made)
    alien = replace(made.hooks["route"], toolchain="0" * 64)
    with pytest.raises(CodeRefused, match="toolchain or processor"):
        link_policy(source, PolicyCode({"route": alien}))
    with pytest.raises(CodeRefused, match="lacks route"):
        link_policy(source, PolicyCode({"admit": made.hooks["route"]}))


def test_a_policy_without_the_hooks_asked_for_is_empty(policy):
    source, _ = policy
    made = build_policy(source, ("admit",))
    assert load_policy(source, code=made, only=("admit",)).hooks == set()


@pytest.mark.parametrize(
    "declared",
    [
        "@one = thread_local global i64 0\n",
        "@one = global [1125899906842624 x i8] zeroinitializer\n",
        "@one = global i64 0, align 1048576\n",
    ],
)
def test_what_the_linker_might_end_the_process_over_is_refused_before_it(declared):
    with pytest.raises(CodeRefused, match="broken"):
        link(code(hook(before=declared), route="hook"))


def test_a_second_table_of_symbols_hides_no_name():
    data = bytearray(hook())
    start, count = struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<H", data, 60)[0]
    kinds = [start + 64 * k + 4 for k in range(count)]
    place = next(p for p in kinds if struct.unpack_from("<I", data, p)[0] == 1)
    struct.pack_into("<I", data, place, 11)
    with pytest.raises(CodeRefused):
        symbols_of(bytes(data))
