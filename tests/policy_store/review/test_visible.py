"""Nothing that a policy's author writes hides, runs backwards or leaves its element."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from policy_store.review.rendering import environment
from policy_store.review.visible import LONGEST_LINE, characters, cut, seen


class Reader(HTMLParser):
    """What a browser would see: tags, and text outside of markers."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        del attrs
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader


HIDDEN = "\u202e\u2066\u200b\ufeff\x1b\u00a0\u2028\u3164\U000e0041\ufe0f\ue000"


@pytest.mark.parametrize("char", HIDDEN)
def test_what_cannot_be_seen_is_shown_by_its_number(char: str) -> None:
    text = read(str(seen(f"a{char}b"))).text
    assert text == f"a[U+{ord(char):04X}]b"


def test_letters_that_look_like_others_are_told() -> None:
    assert "[U+0430]" in seen("аdmin")  # noqa: RUF001 - that is the test
    assert "[U+FF41]" in seen("\uff41dmin")
    assert seen("Größe, Приёмник, 待ち行列") == "Größe, Приёмник, 待ち行列"
    assert "[U+041F]" in characters("П = 1", code=True)


def test_marks_do_not_pile_up() -> None:
    assert read(str(seen("e" + "\u0301" * 50))).text.count("[U+0301]") == 48


def test_tags_stay_text() -> None:
    hostile = "</pre><script>alert(1)</script><img src=x onerror=y>\"'&lt;"
    for html in (seen(hostile), cut(hostile, code=True)):
        reader = read(f"<pre>{html}</pre>")
        assert (reader.tags, reader.text) == (["pre"], hostile)


def test_long_lines_end_with_how_much_is_missing() -> None:
    text = read(str(cut("x" * 100_000, code=True))).text
    assert text == "x" * LONGEST_LINE + f"[{100_000 - LONGEST_LINE:,} more characters]"
    assert read(str(seen("y" * 100, 80))).text.endswith("[20 more characters]")


def test_templates_have_it_as_a_filter() -> None:
    shown = environment().from_string("{{ name | seen(80) }}").render(name="<b>\u202e")
    assert (read(shown).tags, read(shown).text) == (["span"], "<b>[U+202E]")
