"""Machine code as plain object files: made where a compiler runs, linked where a policy decides.

1. `machine_code`: what a compiler hands over, as bounded bytes; `elf` reads what an object needs.
2. `linking`: object files to callable addresses, through llvmlite alone, in about a millisecond.
3. `toolchain`: what machine code was made by and for; it runs nowhere else.
4. `policy_builder`: lowered code through numba to object files; only compile processes import it.
"""
