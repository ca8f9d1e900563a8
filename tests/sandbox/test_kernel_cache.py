import os
import shutil

import pytest

from sandbox.kernel import cache


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """The package's sources somewhere else, so that they can be changed."""
    (tmp_path / "native").mkdir()
    for name in cache._SOURCES:
        shutil.copy(cache._SANDBOX / name, tmp_path / name)
    kept = shutil.ignore_patterns("__numba__", "__pycache__")
    shutil.copytree(cache._SANDBOX / "kernel", tmp_path / "kernel", ignore=kept)
    monkeypatch.setattr(cache, "_SANDBOX", tmp_path)
    return tmp_path


@pytest.mark.parametrize("source", ["toolkit.py", "contract.py", "abi.py"])
def test_the_digest_changes_with_a_source(copied, source):
    before = cache.toolkit_digest()
    assert cache.toolkit_digest() == before
    with (copied / source).open("a") as file:
        file.write("# one more line\n")
    assert cache.toolkit_digest() != before


def test_machine_code_lies_beside_the_package_when_that_can_be_written(copied):
    assert cache.cache_directory() == copied / "kernel" / "__numba__" / cache.KERNEL


def test_else_it_lies_in_the_home(copied, tmp_path, monkeypatch):
    (copied / "kernel" / "__numba__").write_text("in the way")
    monkeypatch.setenv("EVOLVER_HOME", str(tmp_path / "home"))
    expected = tmp_path / "home" / "cache" / "numba" / cache.KERNEL
    assert cache.cache_directory() == expected
    assert expected.is_dir()


def test_when_nothing_can_be_written_the_message_says_what_to_set(copied, tmp_path, monkeypatch):
    (copied / "kernel" / "__numba__").write_text("in the way")
    (tmp_path / "home").write_text("in the way too")
    monkeypatch.setenv("EVOLVER_HOME", str(tmp_path / "home"))
    with pytest.raises(OSError, match="set EVOLVER_HOME"):
        cache.cache_directory()


def test_old_generations_are_forgotten(copied):
    root = copied / "kernel" / "__numba__"
    for age in range(cache.KEPT + 3):
        (root / f"old{age}").mkdir(parents=True)
        os.utime(root / f"old{age}", (1000.0 - age, 1000.0 - age))
    present = cache.cache_directory()
    assert present.is_dir()
    assert len(list(root.iterdir())) == cache.KEPT + 1
