"""Rook as Helm installed it: values for its charts travel in the bundle, a person upgrades the release; pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loader.bundle.errors import Pending
from loader.chartvalues import FOLDER, OPERATOR_CHART, WITHOUT_DRIVERS, needs_drivers, values_by_chart
from loader.cluster.finding import Finding
from loader.cluster.owners import Release

if TYPE_CHECKING:
    from loader.site import SiteDocument

_AGAIN = "then the same command goes on"


def helm_lines(
    releases: Iterable[Release], documents: Sequence[SiteDocument], folder: Path = Path()
) -> tuple[str, ...]:
    """Return the ``helm upgrade`` line of each release that has values in the bundle; they stand under ``folder``.

    The chart is the file that ``helm pull`` makes: the repositories of charts are outside.
    """
    files = values_by_chart({item.document.path: item.content for item in documents})
    return tuple(dict.fromkeys(line for release in releases for line in _line(release, files, folder)))


def lines_by_hand(contents: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return comments with the lines for a Rook that Helm installed under its usual names, none without values.

    ``contents`` are documents by path.
    """
    files = values_by_chart(contents)
    usual = [Release(chart, "rook-ceph", chart, "", "") for chart in files]
    lines = [f"#   {line}" for release in usual for line in _line(release, files, Path())]
    lines += [f"#   {words}" for words in _drivers(files)]
    return ("# where Helm installed Rook, in place of the patches of Rook above:", *lines) if lines else ()


def _line(release: Release, files: Mapping[str, tuple[str, str]], folder: Path) -> Iterator[str]:
    if release.chart not in files:
        return
    path, version = files[release.chart]
    # Values that a newer chart needs and an older release has not would be missing with --reuse-values alone.
    reuse = "--reuse-values" if release.version == version else "--reset-then-reuse-values"
    chart, values = f"{release.chart}-{version}.tgz", str(folder / path)
    words = ("helm", "upgrade", release.name, chart, "--namespace", release.namespace, reuse, "--values", values)
    yield shlex.join(words)


def _drivers(files: Mapping[str, tuple[str, str]]) -> list[str]:
    """Return what to say of the chart that no values are carried for, nothing where it is not needed."""
    return [WITHOUT_DRIVERS] if OPERATOR_CHART in files and needs_drivers(files[OPERATOR_CHART][1]) else []


def _steps(lines: Iterable[str], documents: Sequence[SiteDocument], separator: str) -> str:
    files = values_by_chart({item.document.path: item.content for item in documents})
    return "; ".join([separator.join(lines), *_drivers(files), _AGAIN])


def values_of(documents: Iterable[SiteDocument]) -> tuple[SiteDocument, ...]:
    """Return the documents that are values of charts."""
    return tuple(item for item in documents if item.document.path.startswith(FOLDER))


def helm_finding(releases: Sequence[Release], documents: Sequence[SiteDocument]) -> Finding:
    """Return the warning that Rook is Helm's and what to do after the images are there."""
    lines = helm_lines(releases, documents)
    steps = f"load brings images and mirrors; after that: {_steps(lines, documents, '; ')}"
    hint = steps if lines else _without_values()
    return Finding("warning", f"{_what(releases)}: it is not patched", hint)


def helm_pending(releases: Sequence[Release], documents: Sequence[SiteDocument], folder: Path) -> Pending:
    """Return the error with which a load ends that leaves Rook to Helm."""
    lines = helm_lines(releases, documents, folder)
    return Pending(
        f"{_what(releases)}: Rook has its old images until that release is upgraded",
        why="a patch would be undone by the next helm upgrade; images, mirrors and manifests are there",
        hint=_steps(lines, documents, " && ") if lines else _without_values(),
    )


def _what(releases: Sequence[Release]) -> str:
    return "; ".join(
        f"{release.owned} belongs to Helm's release {release.namespace}/{release.name}" for release in releases
    )


def _without_values() -> str:
    return "set the same images in the chart's values, or build the bundle anew: this one has no values for Helm"
