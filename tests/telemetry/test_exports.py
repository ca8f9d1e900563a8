"""What the package promises is what it has, and it is light to import."""

from __future__ import annotations

import subprocess
import sys

import telemetry


def test_every_export_exists_and_the_list_is_sorted():
    assert telemetry.__all__ == sorted(telemetry.__all__)
    assert all(getattr(telemetry, name) is not None for name in telemetry.__all__)
    assert set(telemetry.__all__) == set(telemetry._HOMES)


def test_importing_the_package_loads_nothing_heavy():
    code = ("import sys, telemetry; "
            "print([m for m in ('numpy', 'pydantic', 'numba') if m in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          check=True).stdout.strip() == "[]"
