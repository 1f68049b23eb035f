"""One self-contained HTML page: no network, no script; every value is escaped; readable on a telephone and on A4."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1b1f24;background:#fff;
overflow-wrap:anywhere}h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem;break-after:avoid}
table{border-collapse:collapse;width:100%;table-layout:auto}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #d5dae0;vertical-align:top}
th{background:#f3f5f7;overflow-wrap:normal}td{font-family:ui-monospace,monospace;font-size:.85em}tr{break-inside:avoid}
pre{font-size:.8em;white-space:pre-wrap}
.strip{display:flex;height:1.1rem;border:1px solid #57606a;overflow:hidden;background:#fff;margin:.15rem 0 .5rem}
.strip i{display:block;flex:none;height:100%;overflow:hidden}
.strip i{font:.75rem/1.1rem ui-monospace,monospace;text-align:center}
.strip i.edge{border-right:1px solid #57606a;box-sizing:border-box}
.c0{background:#9ec5fe}.c1{background:#ffe29a}.c2{background:#c3e6cb}.c3{background:#e2c6f5}.c4{background:#ffc9a3}
.c5{background:#bde3e8}.c6{background:#e6d3b8}.c7{background:#d5dae0}
.ok{background:#8ccf9b}.bad{background:#b3261e}
.gone{background:repeating-linear-gradient(45deg,#fff 0 3px,#b7bec6 3px 5px)}
.healed{background:repeating-linear-gradient(90deg,#8ccf9b 0 3px,#2c6e3f 3px 5px)}
.key{display:inline-block;width:1.1rem;height:.9rem;border:1px solid #57606a;vertical-align:-.1rem;margin-right:.3rem}
.strip,.key,.strip i{-webkit-print-color-adjust:exact;print-color-adjust:exact}
.short{white-space:nowrap}.meaning{display:inline-block;margin-right:1rem}
@media(max-width:40rem){body{margin:1rem auto;padding:0 .6rem}table,tbody,tr,th,td{display:block}
tr.head{display:none}tr{border-bottom:1px solid #57606a;padding:.2rem 0}th,td{border:0;padding:.1rem .3rem}
td[data-h]:before{content:attr(data-h) ": ";font:600 .9em system-ui,sans-serif}}
@page{size:A4;margin:15mm}
@media print{body{margin:0;padding:0;max-width:none;font-size:10pt}}
""".strip()
# A text of so many letters is never broken.
_SHORT = 12
COLOURS = tuple(f"c{number}" for number in range(8))


class Page:
    """A title, facts and sections, in the order they are added."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._parts: list[str] = []

    def facts(self, rows: Sequence[tuple[str, str]]) -> None:
        """Add a two-column table."""
        body = "".join(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in rows)
        self._parts.append(f"<table>{body}</table>")

    def section(self, heading: str, *bodies: str) -> None:
        """Add a heading over ``bodies``, which are HTML made by this module."""
        self._parts.append(f"<h2>{_text(heading)}</h2>{''.join(bodies)}")

    def html(self) -> str:
        """The whole page."""
        title = _text(self._title)
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>"
            + "".join(self._parts)
            + "</body></html>\n"
        )


@dataclass(frozen=True)
class Part:
    """A piece of a strip: its share of the whole (0 to 1), one of the classes of this page's style, a few letters."""

    share: float
    colour: str
    letters: str = ""


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, or a line that says there is nothing."""
    if not rows:
        return "<p>none</p>"
    head = "".join(f"<th>{_text(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(map(_cell, headings, row))}</tr>" for row in rows)
    return f'<table><tr class="head">{head}</tr>{body}</table>'


def _cell(heading: str, text: str) -> str:
    """A cell; on a narrow screen it stands alone in its line, behind its heading."""
    short = ' class="short"' if len(text) <= _SHORT else ""
    label = f' data-h="{_text(heading)}"' if heading else ""
    return f"<td{short}{label}>{_text(text)}</td>"


def paragraph(text: str) -> str:
    """A paragraph."""
    return f"<p>{_text(text)}</p>"


def opened(summary: str, text: str) -> str:
    """Lines of ``text`` under a line that closes and opens them."""
    lines = "\n".join(_text(line) for line in text.splitlines())
    return f"<details open><summary>{_text(summary)}</summary><pre>{lines}</pre></details>"


def listed(lines: Sequence[str]) -> str:
    """A list with a dot before each line."""
    return f"<ul>{''.join(f'<li>{_text(line)}</li>' for line in lines)}</ul>"


def strip(caption: str, parts: Sequence[Part], *, edges: bool = True) -> str:
    """A line of text over a bar of coloured parts; ``edges`` draws a line behind each of them."""
    edge = " edge" if edges else ""
    cells = "".join(
        f'<i class="{part.colour}{edge}" style="width:{100 * part.share:.3f}%">{_text(part.letters)}</i>'
        for part in parts
        if part.share > 0
    )
    return f'<div>{_text(caption)}</div><div class="strip">{cells}</div>'


def legend(meanings: Sequence[tuple[str, str]]) -> str:
    """What the colours of strips mean: pairs of class and text."""
    keys = " ".join(
        f'<span class="meaning"><i class="key {colour}"></i>{_text(text)}</span>' for colour, text in meanings
    )
    return f"<p>{keys}</p>"


def _text(value: str) -> str:
    return html.escape("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in value))
