"""Lines for a model: short, plain and cut at words."""

from hypothesis import given
from hypothesis import strategies as st

from evolver.prompt_lines import cut, fenced, harmless, listed, number, table


@given(st.text(), st.integers(20, 60))
def test_a_cut_line_ends_with_a_whole_word(line, most):
    plain = harmless(line, 10_000)
    short = cut(plain, most)
    assert len(short) <= most
    if short != plain:
        kept = short.removesuffix("...")
        rest = plain[len(kept) :]
        assert plain.startswith(kept)
        assert rest.startswith(" ") or " " not in kept


@given(st.text())
def test_harmless_lines_are_plain(line):
    assert all(" " <= c <= "~" and c != "`" for c in harmless(line))


@given(st.text(alphabet="`x\n", max_size=40))
def test_no_text_ends_its_own_block(text):
    first, *body, last = fenced(text).split("\n")
    fence = first.removesuffix("python")
    assert last == fence
    assert fence not in "\n".join(body)


def test_numbers_are_short():
    assert [number(x) for x in (None, float("nan"), 3.0, 0.123456, 16234.5, 2e9)] == [
        "-", "-", "3", "0.1235", "16234", "2e+09",
    ]  # fmt: skip


def test_tables_stand_apart_from_lists():
    rows = table(("a", "b"), [(1, "x"), (None, "y")])
    assert listed(["one", *rows, "two"]) == (
        "- one\n\n| a | b |\n| --- | --- |\n| 1 | x |\n| - | y |\n\n- two"
    )
    assert table(("a",), []) == ()


def test_a_long_list_says_how_much_is_missing():
    assert listed(["a", "b", "c"], most=2).endswith("- (1 more)")
