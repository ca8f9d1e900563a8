"""Trees are built one at a time, and nowhere else than here."""

import ast
import threading
import time
import warnings
from pathlib import Path

import pytest

from sandbox.language import trees
from sandbox.verifier import verify

ROOT = Path(__file__).resolve().parents[2]


def test_threads_build_one_tree_at_a_time(monkeypatch):
    building, most = [], []

    def slow(text, **more):
        building.append(text)
        most.append(len(building))
        time.sleep(0.01)
        building.pop()
        return ast.Module([], [])

    monkeypatch.setattr(trees.ast, "parse", slow)
    threads = [threading.Thread(target=trees.tree_of, args=("x",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4


def test_foreign_escapes_are_no_warning():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trees.tree_of(r"x = '\d'", foreign=True)
    assert not said


def test_nobody_else_builds_trees():
    modules = [path for name in ("evolver", "sandbox") for path in (ROOT / name).rglob("*.py")]
    builders = [path.name for path in modules if "ast.parse(" in path.read_text(encoding="utf-8")]
    assert builders == ["trees.py"]


HELPER = "def helper{0}(a):\n    return a + {0}\n\n\n"
LONG = "".join(map(HELPER.format, range(100)))


def trees_of_library():
    for path in sorted((ROOT / "evolver" / "library").glob("[a-z]*.py"))[::4]:
        text = path.read_text(encoding="utf-8")
        yield from (text, verify(text).lowered)


def test_a_text_in_pieces_has_the_tree_of_the_whole():
    seen = 0
    for text in (*trees_of_library(), LONG, "", "x = 1"):
        seen += len([*trees._pieces(text)]) > 1
        whole = ast.dump(ast.parse(text), include_attributes=True)
        assert ast.dump(trees.tree_of(text), include_attributes=True) == whole
    assert seen > 10


@pytest.mark.parametrize(
    "middle",
    [
        'x = """\ndef f(\n"""\n',
        "x = '''\ndef f(): pass\n'''\ny = 'a\\\ndef b'\n",
        "x = (\n1)\n",
        "if True:\n    pass\n",
        "@decorated\n",
        "x = 1\r",
        "# a comment of \f\n",
        "f'{1 +\t2}'\n",
    ],
)
def test_a_piece_may_end_in_the_middle_of_something(middle):
    for text in (LONG + middle + LONG, LONG[:-1] + " " * 900 + "\n" + middle + LONG):
        whole = ast.dump(ast.parse(text), include_attributes=True)
        assert ast.dump(trees.tree_of(text), include_attributes=True) == whole


@pytest.mark.parametrize("bad", ["x = (\n", "x = 1 +\\\n", "'''\n", "  y\n", "def f(:\n", "\0\n"])
def test_what_is_no_python_is_the_same_error_in_the_same_line(bad):
    text = LONG + bad + LONG
    with pytest.raises((SyntaxError, ValueError)) as expected:
        ast.parse(text)
    with pytest.raises(type(expected.value)) as found:
        trees.tree_of(text)
    assert str(found.value) == str(expected.value)
