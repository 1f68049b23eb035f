"""A kustomization as far as images go: what it takes in, patches and generates, and what its ``images:`` change.

Read as kustomize 5 reads it (``api/types/kustomization.go``); whatever it would run or fetch is a problem.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bundler.patches import Patch, Target
from bundler.render.manifests import CAPS
from bundler.yamlpos import Node, parse

FILES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_LISTS = ("resources", "bases", "crds")
_PATCHES = ("patches", "patchesJson6902", "patchesStrategicMerge")
_CHARTS = ("helmCharts", "helmChartInflationGenerator")
_PLUGINS = ("generators", "transformers")
_BUILT = "kubectl kustomize prints what comes out, which can be looked at"
# kustomize takes the name as a pattern; whoever means it uses more than a dot.
_PATTERN = re.compile(r".*[*+?()\[\]{}|^$\\].*", re.DOTALL)


@dataclass(frozen=True)
class ImageChange:
    """One entry of ``images:``; an empty field changes nothing."""

    name: str
    new_name: str
    new_tag: str
    digest: str

    def changed(self, text: str) -> str:
        """Return an image's text after this change (kustomize ``api/filters/imagetag/updater.go``)."""
        name, tag, digest = _split(text)
        if name != self.name:
            return text
        if self.new_tag or self.digest:
            tag, digest = self.new_tag, self.digest
        return (self.new_name or name) + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")


@dataclass(frozen=True)
class GeneratedMap:
    """An entry of ``configMapGenerator``: (line, ``KEY=VALUE``) literals, and (key, file); no key: an env file."""

    name: str
    literals: tuple[tuple[int, str], ...]
    files: tuple[tuple[str, Path], ...]


@dataclass(frozen=True)
class Kustomization:
    """What is taken in, in kustomize's order: ``components`` change all before them; problems are (line, problem)."""

    path: Path
    paths: tuple[Path, ...] = ()
    components: tuple[Path, ...] = ()
    maps: tuple[GeneratedMap, ...] = ()
    patches: tuple[Patch, ...] = ()
    changes: tuple[ImageChange, ...] = ()
    problems: tuple[tuple[int, str], ...] = ()

    def changed(self, text: str) -> str:
        """Return a container's image after the changes, one after the other."""
        for change in self.changes:
            text = change.changed(text)
        return text


def _split(text: str) -> tuple[str, str, str]:
    """Part an image's text into name, tag and digest."""
    name, _, digest = text.partition("@")
    head, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return head + slash + last, tag, digest


def read_kustomization(path: Path, data: bytes) -> Kustomization:
    """Read the kustomization at ``path``. URLs, plugins and helm charts are problems, and what lies outside its root.

    kustomize allows bases outside of the folder, but no files there: the same holds here.
    """
    parsed = parse(data, CAPS)
    problems = [(fault.line, fault.problem) for fault in parsed.faults]
    if len(parsed.documents) > 1:
        problems.append((parsed.documents[1].line, "a kustomization is one YAML document"))
    if not parsed.documents:
        return Kustomization(path, problems=tuple(problems))
    if not isinstance(parsed.documents[0].value, dict):
        return Kustomization(path, problems=(*problems, (parsed.documents[0].line, "a kustomization is a mapping")))
    return _Reader(path, parsed.documents[0].value, problems).read()


@dataclass(frozen=True)
class _Reader:
    path: Path
    top: Mapping[str, Node]
    problems: list[tuple[int, str]]

    def read(self) -> Kustomization:
        paths = tuple(found for key in _LISTS for node in _items(self.top.get(key)) for found in self._there(node))
        components = tuple(found for node in _items(self.top.get("components")) for found in self._there(node))
        patches = tuple(found for key in _PATCHES for node in _items(self.top.get(key)) for found in self._patch(node))
        maps = tuple(self._map(node) for node in _items(self.top.get("configMapGenerator")))
        self._refuse()
        changes = tuple(found for key in ("images", "imageTags") for found in self._changes(self.top.get(key)))
        return Kustomization(self.path, paths, components, maps, patches, changes, tuple(self.problems))

    def _there(self, node: Node) -> Iterator[Path]:
        if isinstance(node.value, str):
            problem = _problem(self.path.parent, node.value)
            if problem:
                self.problems.append((node.line, f"{node.value[:200]}: {problem}"))
            else:
                yield self.path.parent / node.value

    def _patch(self, node: Node) -> Iterator[Patch]:
        """Yield a patch: a file's name or a text, alone or in a mapping with its target."""
        if isinstance(node.value, str):
            # An inline patch is an object in a text of several lines.
            if "\n" in node.value or node.value.lstrip().startswith("{"):
                yield Patch(node.line, node.value)
            else:
                for found in self._there(node):
                    yield Patch(node.line, found)
        elif isinstance(node.value, dict):
            target = _target(node.value.get("target"))
            text, path = node.value.get("patch"), node.value.get("path")
            if text is not None and isinstance(text.value, str):
                yield Patch(text.line, text.value, target)
            for found in self._there(path) if path is not None else ():
                yield Patch(node.line, found, target)

    def _map(self, node: Node) -> GeneratedMap:
        entry = node.value if isinstance(node.value, dict) else {}
        files: list[tuple[str, Path]] = []
        for item in _items(entry.get("files")):
            key, _, name = str(item.value).rpartition("=")
            files += [(key or found.name, found) for found in self._there(Node(name, item.line)) if found.is_file()]
        one = entry.get("env")
        for item in (*_items(entry.get("envs")), *((one,) if one is not None else ())):
            files += [("", found) for found in self._there(item) if found.is_file()]
        literals = tuple((item.line, str(item.value)) for item in _items(entry.get("literals")))
        return GeneratedMap(_text(entry.get("name")), literals, tuple(files))

    def _refuse(self) -> None:
        for key in _CHARTS:
            if key in self.top:
                self.problems.append((self.top[key].line, f"{key}: charts are not rendered here; give them by path"))
        for key in _PLUGINS:
            if _items(self.top.get(key)):
                self.problems.append((self.top[key].line, f"{key}: are not run here; {_BUILT}"))

    def _changes(self, listed: Node | None) -> Iterator[ImageChange]:
        for node in _items(listed):
            if isinstance(node.value, dict):
                name, *rest = (_text(node.value.get(key)) for key in ("name", "newName", "newTag", "digest"))
                if _PATTERN.fullmatch(name) or "tagSuffix" in node.value:
                    # kustomize 5.5 adds a suffix twice to some containers.
                    what = "tagSuffix" if "tagSuffix" in node.value else f"the pattern {name[:200]}"
                    self.problems.append((node.line, f"images: {what} is not read here; {_BUILT}"))
                else:
                    yield ImageChange(name, *rest)


def _items(node: Node | None) -> tuple[Node, ...]:
    return node.value if node is not None and isinstance(node.value, tuple) else ()


def _text(node: Node | None) -> str:
    """Return a scalar as it was written, nothing for what is none."""
    return node.text if node is not None and not isinstance(node.value, (dict, tuple)) else ""


def _target(node: Node | None) -> Target:
    parts = node.value if node is not None and isinstance(node.value, dict) else {}
    return Target(*(_text(parts.get(key)) for key in ("group", "version", "kind", "name")))


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
