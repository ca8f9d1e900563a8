"""Trees are built one at a time, and nowhere else than here."""

import ast
import threading
import time
import warnings
from pathlib import Path

from sandbox.language import trees

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
