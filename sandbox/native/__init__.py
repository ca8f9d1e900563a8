"""Machine code as plain object files: made where a compiler runs, linked where a policy decides.

1. `machine_code`: what a compiler hands over, as bounded bytes, and `policy_code` that of several
   hooks; `elf` reads what an object needs.
2. `linking`: object files to callable addresses, through llvmlite alone, in about a millisecond.
3. `toolchain`: what machine code was made by and for; it runs nowhere else.
4. `cache`: machine code on disk, private and authenticated.
5. `compiler`: asks a process of its own for the machine code of a policy's hooks, or the cache.
   There, `compile_job` takes a hook's lowered text, or verifies a policy's whole one, and
   `policy_builder` takes it through numba to object files.
6. `process`: how such processes start.

The simulator has a compiler of its own in `sandbox/kernel/compiler.py`; what it makes is kept and
linked here, too.
"""
