"""One self-contained HTML page: no network, no script; every value is escaped."""

from __future__ import annotations

import html
from collections.abc import Sequence

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1b1f24;background:#fff}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%;table-layout:auto}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #d5dae0;vertical-align:top;overflow-wrap:anywhere}
th{background:#f3f5f7}td{font-family:ui-monospace,monospace;font-size:.85em}
@media(max-width:40rem){body{margin:1rem auto}th,td{padding:.2rem .3rem}}
@media print{body{margin:0;max-width:none}}
""".strip()


class Page:
    """A title, facts and sections, in the order they are added."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._parts: list[str] = []

    def facts(self, rows: Sequence[tuple[str, str]]) -> None:
        """Add a two-column table."""
        body = "".join(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in rows)
        self._parts.append(f"<table>{body}</table>")

    def section(self, heading: str, body: str) -> None:
        """Add a heading over ``body``, which is HTML made by this module."""
        self._parts.append(f"<h2>{_text(heading)}</h2>{body}")

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


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, or a line that says there is nothing."""
    if not rows:
        return "<p>none</p>"
    head = "".join(f"<th>{_text(heading)}</th>" for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _text(value: str) -> str:
    return html.escape("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in value))
