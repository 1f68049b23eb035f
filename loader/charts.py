"""Rook as Helm installed it: values for its charts travel in the bundle, a person upgrades the release; pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loader.bundle.errors import Pending
from loader.cluster.finding import Finding
from loader.cluster.owners import Release

if TYPE_CHECKING:
    from loader.site import SiteDocument

FOLDER = "documents/helm/"
_FIRST = re.compile(rb"# chart ([a-z-]{1,40}) (v[0-9A-Za-z.-]{1,60})\n")
_AGAIN = "then the same command goes on"


def first_line(chart: str, version: str) -> str:
    """Return the line of a values file that says which chart it is for."""
    return f"# chart {chart} {version}"


def helm_lines(
    releases: Iterable[Release], documents: Sequence[SiteDocument], folder: Path = Path()
) -> tuple[str, ...]:
    """Return the ``helm upgrade`` line of each release that has values in the bundle; they stand under ``folder``.

    The chart is the file that ``helm pull`` makes: the repositories of charts are outside.
    """
    files = _files({item.document.path: item.content for item in documents})
    return tuple(dict.fromkeys(line for release in releases for line in _line(release, files, folder)))


def lines_by_hand(contents: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return comments with the lines for a Rook that Helm installed under its usual names, none without values.

    ``contents`` are documents by path.
    """
    files = _files(contents)
    usual = [Release(chart, "rook-ceph", chart, "", "") for chart in files]
    lines = [f"#   {line}" for release in usual for line in _line(release, files, Path())]
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


def _files(contents: Mapping[str, bytes]) -> dict[str, tuple[str, str]]:
    """Return chart -> (path, version) of the values files among ``contents``."""
    found = [(path, _FIRST.match(content)) for path, content in contents.items() if path.startswith(FOLDER)]
    return {match[1].decode(): (path, match[2].decode()) for path, match in found if match}


def values_of(documents: Iterable[SiteDocument]) -> tuple[SiteDocument, ...]:
    """Return the documents that are values of charts."""
    return tuple(item for item in documents if item.document.path.startswith(FOLDER))


def helm_finding(releases: Sequence[Release], documents: Sequence[SiteDocument]) -> Finding:
    """Return the warning that Rook is Helm's and what to do after the images are there."""
    lines = helm_lines(releases, documents)
    hint = f"load brings images and mirrors; after that: {'; '.join(lines)}; {_AGAIN}" if lines else _without_values()
    return Finding("warning", f"{_what(releases)}: it is not patched", hint)


def helm_pending(releases: Sequence[Release], documents: Sequence[SiteDocument], folder: Path) -> Pending:
    """Return the error with which a load ends that leaves Rook to Helm."""
    lines = helm_lines(releases, documents, folder)
    return Pending(
        f"{_what(releases)}: Rook has its old images until that release is upgraded",
        why="a patch would be undone by the next helm upgrade; images, mirrors and manifests are there",
        hint=f"{' && '.join(lines)}; {_AGAIN}" if lines else _without_values(),
    )


def _what(releases: Sequence[Release]) -> str:
    return "; ".join(
        f"{release.owned} belongs to Helm's release {release.namespace}/{release.name}" for release in releases
    )


def _without_values() -> str:
    return "set the same images in the chart's values, or build the bundle anew: this one has no values for Helm"
