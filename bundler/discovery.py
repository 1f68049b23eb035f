"""Images that files name: manifests, lists, kustomizations and charts, each with why and where.

Paths are walked in order of their names; a fault in one file hides nothing of the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Callable, Optional

from bundler.config import read_file
from bundler.kustomize import FILES as KUSTOMIZATIONS
from bundler.kustomize import Kustomization, read_kustomization
from bundler.references import Path as Place
from bundler.references import Reference, references
from bundler.render.manifests import CAPS
from bundler.yamlpos import Node, parse
from loader.bundle.errors import AirgapError, ConfigError
from loader.oci.model import ImageRef

_YAML = (".yaml", ".yml", ".json")
_CHART_FILE = "Chart.yaml"
_CHART_ARCHIVE = ".tgz"
_LIST = ".txt"
_MAX_FILES = 20_000


@dataclass(frozen=True)
class Occurrence:
    """One place that names an image: ``where`` is ``file:line`` (or what rendered it), ``certain`` as in references."""

    text: str
    image: Optional[ImageRef]
    why: str
    where: str
    certain: bool


@dataclass
class Found:
    """All places in the order they were met, and what could not be read as (place, problem)."""

    occurrences: list[Occurrence] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)

    def images(self, *, certain: bool) -> dict[str, list[Occurrence]]:
        """Return the places by image; a text that only looks like an image counts unless a place names it for sure."""
        sure = {str(item.image) for item in self.occurrences if item.certain}
        named: dict[str, list[Occurrence]] = {}
        for item in self.occurrences:
            name = str(item.image) if item.image else item.text
            if item.certain == certain and (certain or name not in sure):
                named.setdefault(name, []).append(item)
        return dict(sorted(named.items()))


# Renders a chart (folder or archive) to manifests; ``ConfigError`` where it does not render.
RenderChart = Callable[[Path], bytes]


class Finder:
    """Walks files and folders; ``render_chart`` runs helm."""

    def __init__(self, render_chart: RenderChart) -> None:
        self.found = Found()
        self._render_chart = render_chart
        self._files = 0
        self._inside: list[Path] = []

    def look(self, path: Path) -> None:
        """Take everything that ``path`` names; what it cannot read goes to the problems."""
        try:
            self._path(path)
        except AirgapError as error:
            self.found.problems.append((str(path), str(error)))

    def _path(self, path: Path) -> None:
        if path.is_dir():
            self._folder(path)
        elif path.name.endswith(_CHART_ARCHIVE):
            self._chart(path)
        elif path.suffix == _LIST:
            self._list(path)
        elif path.name in KUSTOMIZATIONS:
            self._kustomization(path)
        else:
            self._manifests(read_file(path, CAPS.size), str(path))

    def _folder(self, folder: Path) -> None:
        names = self._names(folder)
        if _CHART_FILE in names:
            self._chart(folder)
            return
        for name in KUSTOMIZATIONS:
            if name in names:
                self._kustomization(folder / name)
                return
        for name in names:
            path = folder / name
            if path.is_symlink():
                continue
            if path.is_dir() or name.endswith((*_YAML, _CHART_ARCHIVE)) or name == f"images{_LIST}":
                self.look(path)

    def _names(self, folder: Path) -> list[str]:
        try:
            names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
        except OSError as error:
            raise ConfigError(f"{folder} cannot be listed", why=error.strerror or str(error)) from error
        self._files += len(names)
        if self._files > _MAX_FILES:
            raise ConfigError(f"{folder} has too many files", why=f"more than {_MAX_FILES} in all")
        return names

    def _list(self, path: Path) -> None:
        for number, line in enumerate(read_file(path, CAPS.size).decode("utf-8", "replace").splitlines(), 1):
            text = line.partition("#")[0].strip()
            if not text:
                continue
            try:
                image = ImageRef.parse(text)
            except ConfigError as error:
                self.found.problems.append((f"{path}:{number}", str(error)))
            else:
                self.found.occurrences.append(Occurrence(text, image, "listed", f"{path}:{number}", True))

    def _manifests(self, data: bytes, where: str) -> None:
        parsed = parse(data, CAPS)
        self.found.problems += [(f"{where}:{fault.line}", fault.problem) for fault in parsed.faults]
        for document in parsed.documents:
            for item in references(document.data()):
                place = f"{where}:{_line(document, item.path)}"
                self.found.occurrences.append(_occurrence(item, place))

    def _chart(self, chart: Path) -> None:
        rendered = self._render_chart(chart)
        self._manifests(rendered, f"{chart} (rendered)")

    def _kustomization(self, path: Path) -> None:
        real = path.resolve()
        if real in self._inside:
            raise ConfigError(f"{path} names itself", why=" -> ".join(map(str, [*self._inside, real])))
        read = read_kustomization(path, read_file(path, CAPS.size))
        self.found.problems += [(f"{path}:{line}", problem) for line, problem in read.problems]
        self._inside.append(real)
        before = len(self.found.occurrences)
        try:
            for inner in read.paths:
                self.look(inner)
        finally:
            self._inside.pop()
        self.found.occurrences[before:] = [_set(item, read) for item in self.found.occurrences[before:]]


def _set(item: Occurrence, kustomization: Kustomization) -> Occurrence:
    """Return ``item`` as the ``images:`` of a kustomization change it."""
    text = kustomization.changed(item.text) if item.certain else item.text
    if text == item.text:
        return item
    try:
        image = ImageRef.parse(text)
    except ConfigError:
        return replace(item, text=text, image=None, certain=False)
    return replace(item, text=text, image=image, why=f"{item.why}, set by {kustomization.path}")


def _occurrence(item: Reference, where: str) -> Occurrence:
    return Occurrence(item.text, item.image, f"{item.owner}, {item.why}", where, item.certain)


def _line(node: Node, place: Place) -> int:
    for key in place:
        value = node.value
        inner = value.get(str(key)) if isinstance(value, dict) else None
        if isinstance(value, tuple) and isinstance(key, int):
            inner = value[key]
        if inner is None:
            break
        node = inner
    return node.line


def lines(found: Found) -> Iterator[tuple[str, str]]:
    """Yield (step, text): images, what only looks like one, what could not be read."""
    for step, certain in (("image", True), ("perhaps", False)):
        for name, places in found.images(certain=certain).items():
            yield step, f"{name}  ({_places(places)})"
    for place, problem in found.problems:
        yield "problem", f"{place}: {problem}"


def _places(places: Sequence[Occurrence]) -> str:
    shown = [f"{item.why} in {item.where}" for item in places[:3]]
    return "; ".join(shown) + (f"; and {len(places) - 3} more" if len(places) > 3 else "")


def document(found: Found) -> dict[str, object]:
    """Return what was found as a JSON value."""

    def listed(*, certain: bool) -> list[dict[str, object]]:
        return [
            {"image": name, "places": [{"where": item.where, "why": item.why} for item in places]}
            for name, places in found.images(certain=certain).items()
        ]

    return {
        "images": listed(certain=True),
        "perhaps": listed(certain=False),
        "problems": [{"place": place, "problem": problem} for place, problem in found.problems],
    }
