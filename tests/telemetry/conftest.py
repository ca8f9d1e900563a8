"""Fixtures: the reference data when it is there, and small files in native formats."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

REFERENCE = Path(__file__).resolve().parents[2].parent / "shared" / "traces"


@pytest.fixture(scope="session")
def reference() -> Path:
    if not (REFERENCE / "manifest.json").is_file():
        pytest.skip("the reference traces are not on this machine")
    return REFERENCE


@pytest.fixture(scope="session")
def manifest(reference) -> dict[str, dict]:
    listed = json.loads((reference / "manifest.json").read_text())["traces"]
    return {entry["name"]: entry for entry in listed}


@pytest.fixture
def write(tmp_path) -> Callable[[str, str], Path]:
    def writer(name: str, text: str) -> Path:
        path = tmp_path / name
        data = text.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return writer


@pytest.fixture
def pack(tmp_path) -> Callable[..., Path]:
    def packer(name: str, members: dict[str, str]) -> Path:
        path = tmp_path / name
        with tarfile.open(path, "w:gz") as archive:
            for member, text in members.items():
                info = tarfile.TarInfo(member)
                info.size = len(text.encode())
                archive.addfile(info, io.BytesIO(text.encode()))
        return path

    return packer
