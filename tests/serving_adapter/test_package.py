"""What the package exports, and what importing it costs."""

import subprocess
import sys

import serving_adapter

HEAVY = ("aiohttp", "numba", "numpy", "sqlalchemy", "fastapi", "litellm", "RestrictedPython")


def loaded_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*[n for n in {HEAVY!r} if n in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def test_exports_are_sorted_and_exist():
    assert sorted(serving_adapter.__all__) == serving_adapter.__all__
    assert all(getattr(serving_adapter, name) for name in serving_adapter.__all__)


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_after("import serving_adapter") == set()


def test_a_host_needs_numpy_only():
    assert loaded_after("import serving_adapter.host") == {"numpy"}
