from __future__ import annotations

import re
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from loader.page import Page, Part, legend, listed, paragraph, strip, table


class Reader(HTMLParser):
    """The text of every table cell and heading, and every tag that occurs."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag != "meta":  # which has no end
            self._open.append(tag)
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open[-1]][-1] += data


def test_a_page_stands_alone_and_asks_for_nothing() -> None:
    page = Page("demo 1: load complete")
    page.facts([("bundle id", "0" * 64)])
    page.section("Images", table(["repository", "tag"], [["ceph/ceph", "v1"], ["rook/ceph", "v2"]]))
    page.section("Cluster objects", table(["kind"], []))
    text = page.html()
    assert text.startswith("<!doctype html>")
    assert not re.search(r"https?:|src=|href=|<script|@import|url\(", text)
    read = Reader(text)
    assert read.texts["h1"] == ["demo 1: load complete"]
    assert read.texts["h2"] == ["Images", "Cluster objects"]
    assert read.texts["td"] == ["0" * 64, "ceph/ceph", "v1", "rook/ceph", "v2"]
    assert read.texts["p"] == ["none"]


TEXT = st.text(max_size=30) | st.sampled_from(
    ["<script>alert(1)</script>", "</td><td>", '" onload="x', "&lt;", "\x1b[2J"]
)


def test_long_names_are_broken_wherever_they_stand_and_our_headings_are_not() -> None:
    page = Page("x").html()
    assert re.search(r">body{[^}]*overflow-wrap:anywhere}", page)
    assert re.search(r"\nth{[^}]*overflow-wrap:normal}", page)


@given(TEXT, TEXT, TEXT, TEXT)
def test_no_text_becomes_markup(title: str, name: str, value: str, cell: str) -> None:
    page = Page(title)
    page.facts([(name, value)])
    page.section(title, table([name], [[cell]]), listed([value]), paragraph(cell))
    page.section(title, strip(value, [Part(0.5, "c0", cell)]), legend([("c0", name)]))
    body = page.html().partition("<body>")[2].removesuffix("</body></html>\n")
    read = Reader(body)
    assert read.tags == {"h1", "h2", "table", "tr", "th", "td", "ul", "li", "p", "div", "i", "span"}
    shown = ["".join(char if char.isprintable() else "\ufffd" for char in text) for text in (value, cell)]
    assert read.texts["td"] == shown
