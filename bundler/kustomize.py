"""A kustomization as far as images go: the files it takes in, and what its ``images:`` change; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bundler.render.manifests import CAPS
from bundler.yamlpos import Node, parse

FILES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_LISTS = ("resources", "bases", "components", "patchesStrategicMerge", "crds")


@dataclass(frozen=True)
class ImageChange:
    """One entry of ``images:``; an empty field changes nothing."""

    name: str
    new_name: str
    new_tag: str
    digest: str


@dataclass(frozen=True)
class Kustomization:
    """The files and folders taken in, the changes, and problems as (line, problem)."""

    path: Path
    paths: tuple[Path, ...]
    changes: tuple[ImageChange, ...]
    problems: tuple[tuple[int, str], ...]

    def changed(self, text: str) -> str:
        """Return an image's text after the changes that name it (kustomize ``api/filters/imagetag``)."""
        name, tail = _split(text)
        for change in self.changes:
            if change.name == name:
                if change.digest:
                    tail = f"@{change.digest}"
                elif change.new_tag:
                    tail = f":{change.new_tag}"
                return (change.new_name or name) + tail
        return text


def _split(text: str) -> tuple[str, str]:
    """Part an image's text into its name and ``:tag``, ``@digest`` or nothing."""
    name, at, digest = text.partition("@")
    head, slash, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    return head + slash + last, f"@{digest}" if at else colon + tag


def read_kustomization(path: Path, data: bytes) -> Kustomization:
    """Read the kustomization at ``path``. URLs and helm charts are problems, and so is what lies outside its root.

    kustomize allows bases outside of the folder, but no files there: the same holds here.
    """
    parsed = parse(data, CAPS)
    problems = [(fault.line, fault.problem) for fault in parsed.faults]
    paths: list[Path] = []
    changes: list[ImageChange] = []
    for document in parsed.documents:
        if not isinstance(document.value, dict):
            problems.append((document.line, "a kustomization is a mapping"))
            continue
        for node, text in _named(document.value):
            problem = _problem(path.parent, text)
            if problem:
                problems.append((node.line, f"{text[:200]}: {problem}"))
            else:
                paths.append(path.parent / text)
        problems += [
            (document.value[key].line, f"{key}: charts are not rendered here; give them by path")
            for key in ("helmCharts", "helmChartInflationGenerator")
            if key in document.value
        ]
        images = document.value.get("images")
        for node in _items(images):
            data_of = node.data()
            if isinstance(data_of, dict):
                changes.append(_change(data_of))
    return Kustomization(path, tuple(paths), tuple(changes), tuple(problems))


def _named(top: Mapping[str, Node]) -> Iterator[tuple[Node, str]]:
    for key in _LISTS:
        for node in _items(top.get(key)):
            # An inline patch is an object in a text of several lines.
            if isinstance(node.value, str) and "\n" not in node.value:
                yield node, node.value
    for node in _items(top.get("patches")):
        inner = node.value.get("path") if isinstance(node.value, dict) else None
        if inner is not None and isinstance(inner.value, str):
            yield inner, inner.value


def _items(node: Node | None) -> tuple[Node, ...]:
    return node.value if node is not None and isinstance(node.value, tuple) else ()


def _problem(folder: Path, text: str) -> str:
    if "://" in text or text.startswith(("github.com/", "git@")) or "?ref=" in text:
        return "is fetched from elsewhere; give a copy by path"
    full = folder / text
    inside = full.resolve().is_relative_to(folder.resolve())
    if not inside and not full.is_dir():
        return "lies outside of the kustomization's folder"
    if full.is_dir() and not any((full / name).exists() for name in FILES):
        return f"is a folder without a {FILES[0]}"
    return "" if full.exists() else "is not there"


def _change(plain: Mapping[str, object]) -> ImageChange:
    def text(key: str) -> str:
        value = plain.get(key)
        return value if isinstance(value, str) else ""

    return ImageChange(text("name"), text("newName"), text("newTag"), text("digest"))
