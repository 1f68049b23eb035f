"""The table: one row per thing measured, medians with extremes, ratios pair by pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.measure import Sample, Spread, ratios
from bench.peers import PEERS

MB = 10**6


@dataclass(frozen=True)
class Results:
    """Samples by way in the order taken, archive sizes by way, and what the images amount to in bytes."""

    samples: Mapping[str, Sequence[Sample]]
    sizes: Mapping[str, int]
    unique: int
    total: int
    images: int


@dataclass(frozen=True)
class _Row:
    title: str
    ours: str
    theirs: str
    value: Callable[[Sample], float]
    unit: str


_ROWS = (
    _Row("build, seconds", "build", "{}_build", lambda s: s.wall, "s"),
    _Row("build, processor seconds", "build", "{}_build", lambda s: s.cpu, "s"),
    _Row("build, peak memory of the largest process, MB", "build", "{}_build", lambda s: s.rss / MB, "MB"),
    _Row("build, written to disk, MB", "build", "{}_build", lambda s: s.written / MB, "MB"),
    _Row("build, disk used beside the archive, MB", "build", "{}_build", lambda s: s.disk / MB, "MB"),
    _Row("load, seconds", "load", "{}_load", lambda s: s.wall, "s"),
    _Row("load, processor seconds", "load", "{}_load", lambda s: s.cpu, "s"),
    _Row("load, peak memory of the largest process, MB", "load", "{}_load", lambda s: s.rss / MB, "MB"),
    _Row("load, written to disk, MB", "load", "{}_load", lambda s: s.written / MB, "MB"),
    _Row("load, disk used beside the archive, MB", "load", "{}_load", lambda s: s.disk / MB, "MB"),
)
# What the loader prints as a step ends: "effect" before the first blob goes, "push" once all tags are confirmed.
_PUSH = ("effect", "push")


_ARTICLE = "the article's way"


def render(results: Results) -> str:
    """Return the results as Markdown: a line on the images, then the table."""
    count = len(results.samples["build"])
    runs = f"{count} interleaved run{'' if count == 1 else 's'}"
    sizes = f"{results.total / MB:.0f} MB as `dir:` layouts, {results.unique / MB:.0f} MB unique"
    lines = [f"{results.images} images, {sizes}; {runs}: median (lowest-highest).", ""]
    for name in ["article", *(peer.name for peer in PEERS)]:
        if name == "article" or f"{name}_build" in results.samples:
            lines += [*_beside(results, name), ""]
    lines += ["| | airgap-loader | curl --parallel | ratio |", "|---|---|---|---|"]
    pushes = [sample.between(*_PUSH) for sample in results.samples["load"]]
    for way, title in (("curl", "push alone, seconds"), ("curl_whole", "the same, curl opens its uploads in the time")):
        lines.append(_line(title, pushes, [sample.wall for sample in results.samples[way]]))
    return "\n".join(lines)


def _beside(results: Results, name: str) -> list[str]:
    """The table of ours beside one other way."""
    notes = {peer.name: f"{peer.name} ({peer.note})" if peer.note else peer.name for peer in PEERS}
    return [
        f"| | airgap-bundler | {notes.get(name, _ARTICLE)} | ratio |",
        "|---|---|---|---|",
        *(
            _line(row.title, _values(results, row.ours, row), _values(results, row.theirs.format(name), row))
            for row in _ROWS
        ),
        _size_line(results, name),
    ]


def _values(results: Results, way: str, row: _Row) -> list[float]:
    return [row.value(sample) for sample in results.samples.get(way, ())]


def _line(title: str, ours: Sequence[float], theirs: Sequence[float]) -> str:
    ratio = ratios(ours, theirs)
    return f"| {title} | {_spread(ours)} | {_spread(theirs)} | {_numbers(ratio, 2) if ratio else ''} |"


def _size_line(results: Results, name: str) -> str:
    ours, theirs = results.sizes["ours"], results.sizes.get(name)
    there, ratio = (f"{theirs / MB:.1f}", f"{ours / theirs:.3f}") if theirs else ("", "")
    return f"| archive, MB | {ours / MB:.1f} | {there} | {ratio} |"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    spread = Spread.of(values)
    return _numbers(spread, 2 if spread.median < 20 else 0)


def _numbers(spread: Spread, places: int) -> str:
    return f"{spread.median:.{places}f} ({spread.low:.{places}f}-{spread.high:.{places}f})"
