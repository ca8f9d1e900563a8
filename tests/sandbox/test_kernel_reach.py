from types import SimpleNamespace

from sandbox.kernel.reach import reach_digest


def function(source, module="caller", **scope):
    space = {"__name__": module, **scope}
    exec(source, space)
    return space["f"]


def digest(source, **scope):
    return reach_digest(function(source, **scope), "base")


CALLER = "def f(x):\n    return g(x) + LIMIT\n"


def inlined(source):
    return SimpleNamespace(py_func=function(source, "callee"))


def test_it_follows_what_is_called_and_the_constants_that_are_named():
    first = digest(CALLER, g=inlined("def f(x):\n    return x + 1\n"), LIMIT=3)
    assert first == digest(CALLER, g=inlined("def f(x):\n    return x + 1\n"), LIMIT=3)
    assert first != digest(CALLER, g=inlined("def f(x):\n    return x + 2\n"), LIMIT=3)
    assert first != digest(CALLER, g=inlined("def f(x):\n    return x + 1\n"), LIMIT=4)


def test_where_a_function_stands_and_what_it_does_not_name_changes_nothing():
    plain = "def f(x):\n    return x * 2\n"
    assert digest(plain) == digest("\n\n# a comment\n" + plain, unused=5)


def test_functions_that_call_each_other_come_to_an_end():
    f = function("def f(x):\n    return g(x)\n")
    f.__globals__["g"] = SimpleNamespace(py_func=f)
    assert len(reach_digest(f, "base")) == 64
