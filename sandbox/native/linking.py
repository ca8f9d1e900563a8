"""Links object files into this process: machine code in, callable addresses out.

Only llvmlite is needed, and a millisecond. What an object may call outside itself is a short list
of plain arithmetic and memory functions; everything else a policy or the kernel needs was compiled
into it.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Collection, Mapping
from types import MappingProxyType

from llvmlite import binding

from sandbox.errors import CodeRefused
from sandbox.native.elf import symbols_of
from sandbox.native.machine_code import MachineCode

ALLOWED = frozenset(
    {
        "ceil", "exp", "exp2", "floor", "fmod", "log", "log2", "sqrt", "trunc",
        "memcpy", "memmove", "memset",
    }
)  # fmt: skip
"""What machine code may expect from the process: the C library's functions of these names."""

# numba counts references to arrays and frees the last one's memory with this. Ours are views, which
# own nothing and are never counted: whoever comes here is broken, and ends.
_FREE = "NRT_MemInfo_call_dtor"
_MODULE = f"declare void @{_FREE}(i8*)"


class LinkedCode:
    """Machine code in this process's memory, for as long as this object lives.

    Attributes:
        addresses: native address of each function of the code.
    """

    def __init__(self, engine: binding.ExecutionEngine, symbols: Mapping[str, str]) -> None:
        self._engine = engine  # frees the code when it dies
        found = {name: engine.get_function_address(symbol) for name, symbol in symbols.items()}
        self.addresses: Mapping[str, int] = MappingProxyType(found)


def link(code: MachineCode, wanted: Collection[str] | None = None) -> LinkedCode:
    """Make machine code callable, or `wanted` functions of it; the caller trusts its origin.

    Raises:
        CodeRefused: it lacks a function that it names, or expects one that it may not call.
    """
    symbols = {
        name: symbol for name, symbol in code.symbols.items() if wanted is None or name in wanted
    }
    found = [symbols_of(one) for one in code.objects]
    defined = frozenset[str]().union(*(one.functions for one in found))
    expected = frozenset[str]().union(*(one.undefined for one in found)) - defined
    if forbidden := min(expected - ALLOWED - {_FREE}, default=""):
        raise CodeRefused(f"The machine code calls {forbidden[:80]}: compile it again.")
    if not defined.issuperset(code.symbols.values()):
        raise CodeRefused("The machine code lacks a function it names: compile it again.")
    _start_llvm()
    machine = binding.Target.from_default_triple().create_target_machine()
    module = binding.parse_assembly(_MODULE)
    engine = binding.create_mcjit_compiler(module, machine)
    engine.add_global_mapping(module.get_function(_FREE), _address_of_abort())
    for one in code.objects:
        engine.add_object_file(binding.ObjectFileRef.from_data(one))
    engine.finalize_object()
    return LinkedCode(engine, symbols)


@functools.cache
def _start_llvm() -> None:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()


@functools.cache
def _address_of_abort() -> int:
    return ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p).value or 0
