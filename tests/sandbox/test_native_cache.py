import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.errors import CacheRefused
from sandbox.native import cache
from sandbox.native.cache import CodeCache

NAME, CODE = "ab" * 32, b"machine code" * 100
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def kept(tmp_path):
    one = CodeCache(tmp_path / "codes")
    one.put(NAME, CODE)
    return one


def file_of(one):
    return one.directory / f"{NAME}.code"


def test_what_was_put_comes_back_to_another_process(kept):
    assert CodeCache(kept.directory).get(NAME) == CODE
    assert kept.get("cd" * 32) is None


def test_directory_key_and_files_are_this_users_alone(kept):
    modes = {path.name: path.stat().st_mode & 0o777 for path in kept.directory.iterdir()}
    assert modes == {"key": 0o600, f"{NAME}.code": 0o600}
    assert kept.directory.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("place", [0, 7, 8, 39, 40, 700, -1])
def test_law_a_changed_byte_of_magic_mac_or_code_is_deleted(kept, place, caplog):
    data = bytearray(file_of(kept).read_bytes())
    data[place] ^= 1
    file_of(kept).write_bytes(data)
    assert kept.get(NAME) is None
    assert not file_of(kept).exists()
    assert "not authentic" in caplog.text


@pytest.mark.parametrize("length", [0, 8, 39, 40, 41])
def test_what_is_cut_off_is_deleted(kept, length):
    os.truncate(file_of(kept), length)
    assert kept.get(NAME) is None
    assert not file_of(kept).exists()


def test_what_another_host_or_user_made_is_not_authentic(kept, tmp_path):
    other = CodeCache(tmp_path / "other")
    other.put(NAME, CODE)
    file_of(kept).write_bytes(file_of(other).read_bytes())
    assert kept.get(NAME) is None


def test_a_file_is_good_under_its_own_name_only(kept):
    os.rename(file_of(kept), kept.directory / f"{'cd' * 32}.code")
    assert kept.get("cd" * 32) is None


def test_a_link_is_not_followed(kept, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    os.rename(file_of(kept), elsewhere)
    file_of(kept).symlink_to(elsewhere)
    assert kept.get(NAME) is None
    assert elsewhere.exists()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o720])
def test_a_directory_that_others_may_write_is_refused(kept, mode):
    kept.directory.chmod(mode)
    for use in (lambda: kept.get(NAME), lambda: kept.put(NAME, CODE)):
        with pytest.raises(CacheRefused, match="set EVOLVER_HOME"):
            use()


def test_a_directory_that_is_a_link_is_refused(kept, tmp_path):
    (tmp_path / "link").symlink_to(kept.directory)
    with pytest.raises(CacheRefused):
        CodeCache(tmp_path / "link").get(NAME)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_somebody_else_is_refused(kept):
    os.chown(kept.directory, 65534, 65534)
    with pytest.raises(CacheRefused):
        kept.get(NAME)


def test_a_key_that_others_could_read_is_made_anew(kept):
    (kept.directory / "key").chmod(0o640)
    assert kept.get(NAME) is None
    kept.put(NAME, CODE)
    assert kept.get(NAME) == CODE


def test_what_was_used_longest_ago_makes_room(tmp_path):
    one = CodeCache(tmp_path / "codes", most_bytes=3 * (len(CODE) + 40))
    for age, name in enumerate("dcba"):
        one.put(name, CODE)
        os.utime(one.directory / f"{name}.code", (1000.0 - age, 1000.0 - age))
    one.put("e", CODE)
    assert [name for name in "abcde" if one.has(name)] == ["c", "d", "e"]


def test_several_processes_make_one_key_and_whole_files(tmp_path):
    code = (
        "import sys; from pathlib import Path\nfrom sandbox.native.cache import CodeCache\n"
        "one = CodeCache(Path(sys.argv[1]))\n"
        "for turn in range(100):\n    one.put('same', sys.argv[2].encode() * 5000)\n"
        "    assert len(set(one.get('same'))) == 1"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "codes")]
    writers = [
        subprocess.Popen([*command, name], cwd=ROOT, stderr=subprocess.PIPE) for name in "ab"
    ]
    assert [(one.wait(), one.communicate()[1]) for one in writers] == [(0, b"")] * 2


def test_it_lies_beside_the_package_else_in_the_home(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "native" / "cache.py"))
    monkeypatch.setenv("EVOLVER_HOME", str(tmp_path / "home"))
    beside = tmp_path / "native" / "__numba__"
    assert cache.code_directory("kernel") == beside / "kernel"
    beside.chmod(0o777)
    assert cache.code_directory("kernel") == tmp_path / "home" / "cache" / "native" / "kernel"


def test_without_any_place_the_message_says_what_to_set(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "native" / "cache.py"))
    for name in ("native", "home"):
        (tmp_path / name).write_text("in the way")
    monkeypatch.setenv("EVOLVER_HOME", str(tmp_path / "home"))
    with pytest.raises(CacheRefused, match="set EVOLVER_HOME"):
        cache.code_directory("kernel")


def test_a_key_that_cannot_be_made_again_costs_a_compilation_only(kept):
    (kept.directory / "key").unlink()
    (kept.directory / "key").mkdir()
    assert kept.get(NAME) is None
