"""Close-ups, and a reader of pages, for tests of the policy page."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from html.parser import HTMLParser

from sandbox.close_up import CloseUp, Conduct, End, Fate, Request, Series, Tenant, Why, Window

VOID = frozenset({"col", "meta", "link", "input", "br", "img", "hr"})
SERIES = Series((1.0, None, 2.0), (1.5, 2.0, 2.5), (0.0, 0.5, 1.0), (None, 0.5, 0.6), (0, 1, 0),
                (0.1, None, 0.3), (2, 2, 2))  # fmt: skip
MINE = Conduct(1.0, tuple(k / 8 for k in range(33)), tuple(k / 80 for k in range(33)), (), 300, 1,
               0, 4, 2, 0, 1, 3.6, 420.0, 0, (0.4, 0.6), SERIES)  # fmt: skip
THEIRS = replace(MINE, e2e_s=tuple(k / 6 for k in range(33)), instance_share=(0.25, 0.75))
FATE = Fate(End.FINISHED, 1.0, 2.0, 0.5, 0, 0, 0, 0, (1, 2), (0, 3))
LATE = replace(FATE, e2e_s=9.5, instance=1, held=2)
LOSSES = tuple(Request(row, 4.0, 1, 100, 20, 7.5 - row / 10, LATE, FATE) for row in range(6))
TENANTS = (Tenant(0, 0.5, 0.6, 0.4, 1.0, None), Tenant(-1, 0.5, 0.4, 0.6, 2.0, 2.5))


def looked(digest: str) -> CloseUp:
    """A close-up of the policy with this digest on two windows."""
    worst = Window("w09", Why.WORST, True, 2700.0, 3000.0, 100.0, 301, MINE, THEIRS, LOSSES,
                   LOSSES[:0], TENANTS)  # fmt: skip
    return CloseUp(digest, "b" * 64, (worst, replace(worst, name="w10", why=Why.TYPICAL)))


@dataclass
class Element:
    """One element with the text inside it, markers of hidden characters included."""

    tag: str
    attributes: dict[str, str | None]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """The elements of a page in order; a tag that was never closed is an error."""

    elements: list[Element] = field(default_factory=list)
    open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> inside <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data

    def by_id(self, name: str) -> Element:
        """The one element with an id."""
        (found,) = [one for one in self.elements if one.attributes.get("id") == name]
        return found

    def all(self, tag: str, kind: str = "") -> list[Element]:
        """Elements by tag and class."""
        found = [one for one in self.elements if one.tag == tag]
        return [one for one in found if not kind or kind in (one.attributes.get("class") or "")]


def read(html: str) -> Page:
    """The page that a text is."""
    page = Page()
    page.feed(html)
    page.close()
    assert not page.open
    return page
