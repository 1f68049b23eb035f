"""Images that files name: manifests, lists, kustomizations and charts, each with why and where.

Paths are walked in order of their names; a fault in one file hides nothing of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Callable, Optional

from bundler.config import read_file
from bundler.kustomize import FILES as KUSTOMIZATIONS
from bundler.kustomize import GeneratedMap, Kustomization, read_kustomization
from bundler.patches import Patch, patch_references
from bundler.references import Reference, is_template_image, references
from bundler.render.manifests import CAPS
from bundler.yamlpos import line_at, parse
from loader.bundle.errors import AirgapError, ConfigError
from loader.oci.model import ImageRef
from loader.units import counted

_YAML = (".yaml", ".yml", ".json")
_CHART_FILE = "Chart.yaml"
_CHART_ARCHIVE = ".tgz"
_LIST = ".txt"
_MAX_FILES = 20_000


@dataclass(frozen=True)
class Occurrence:
    """One place that names an image: ``where`` is ``file:line`` (or what rendered it), ``certain`` as in references.

    ``template``: it stands where the ``images:`` of a kustomization reach.
    """

    text: str
    image: Optional[ImageRef]
    why: str
    where: str
    certain: bool
    template: bool = False


@dataclass
class Found:
    """All places in the order they were met; what could not be read and what was left alone as (place, text)."""

    occurrences: list[Occurrence] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)

    def images(self, *, certain: bool) -> dict[str, list[Occurrence]]:
        """Return the places by image; a text that only looks like an image counts unless a place names it for sure."""
        sure = {str(item.image) for item in self.occurrences if item.certain}
        named: dict[str, list[Occurrence]] = {}
        for item in self.occurrences:
            name = str(item.image) if item.image else item.text
            if item.certain == certain and (certain or name not in sure):
                named.setdefault(name, []).append(item)
        return dict(sorted(named.items()))


def _is_passed_by(path: Path) -> bool:
    """Whether a folder's entry is left alone that a person may mean: a link (a loop in a folder), or ``X.YAML``."""
    taken = path.name.endswith((*_YAML, _CHART_ARCHIVE))
    if path.is_symlink():
        return taken or path.is_dir()
    return not taken and path.name.lower().endswith((*_YAML, _CHART_ARCHIVE))


# Renders a chart (folder or archive) to manifests; ``ConfigError`` where it does not render.
RenderChart = Callable[[Path], bytes]


class Finder:
    """Walks files and folders; ``render_chart`` runs helm."""

    def __init__(self, render_chart: RenderChart) -> None:
        self.found = Found()
        self._render_chart = render_chart
        self._files = 0
        self._inside: list[Path] = []
        self._read: set[Path] = set()

    def look(self, path: Path) -> None:
        """Take everything that ``path`` names; what it cannot read goes to the problems."""
        self._attempt(path, lambda: self._path(path))

    def _attempt(self, path: Path, take: Callable[[], None]) -> None:
        try:
            take()
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
            self._manifests(self._content(path), str(path))

    def _folder(self, folder: Path) -> None:
        names = self._names(folder)
        if _CHART_FILE in names:
            self._chart(folder)
            return
        for name in KUSTOMIZATIONS:
            if name in names:
                self._kustomization(folder / name)
                self._note_unused(folder, names)
                return
        passed = [name for name in names if _is_passed_by(folder / name)]
        if passed:
            text = f"not looked at, being links or not named in lower case: {', '.join(passed[:3])}"
            self.found.notes.append((str(folder), f"{text}{', …' if passed[3:] else ''}; name them to look at them"))
        for name in names:
            path = folder / name
            if path.is_symlink():
                continue
            if path.is_dir() or name.endswith((*_YAML, _CHART_ARCHIVE)) or name == f"images{_LIST}":
                self.look(path)

    def _note_unused(self, folder: Path, names: Sequence[str]) -> None:
        """Say what lies beside a kustomization that was asked for and is no part of it."""
        if not self._inside:
            paths = [folder / name for name in names if name.endswith(_YAML) and name not in KUSTOMIZATIONS]
            unused = [path.name for path in paths if path.is_file() and path.resolve() not in self._read]
            if unused:
                text = (
                    f"its kustomization does not take {counted(len(unused), 'file')} beside it: {', '.join(unused[:3])}"
                )
                self.found.notes.append(
                    (str(folder), f"{text}{', …' if unused[3:] else ''}; name them to look at them")
                )

    def _names(self, folder: Path) -> list[str]:
        try:
            names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
        except OSError as error:
            raise ConfigError(f"{folder} cannot be listed", why=error.strerror or str(error)) from error
        self._files += len(names)
        if self._files > _MAX_FILES:
            raise ConfigError(f"{folder} has too many files", why=f"more than {_MAX_FILES} in all")
        return names

    def _content(self, path: Path) -> bytes:
        self._read.add(path.resolve())
        return read_file(path, CAPS.size)

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

    def _manifests(self, data: bytes, where: str, look: Callable[[object], Iterable[Reference]] = references) -> None:
        parsed = parse(data, CAPS)
        self.found.problems += [(f"{where}:{fault.line}", fault.problem) for fault in parsed.faults]
        for document in parsed.documents:
            for item in look(document.data()):
                place = f"{where}:{line_at(document, item.path)}"
                self.found.occurrences.append(_occurrence(item, place))

    def _chart(self, chart: Path) -> None:
        rendered = self._render_chart(chart)
        self._manifests(rendered, f"{chart} (rendered)")

    def _kustomization(self, path: Path, since: Optional[int] = None) -> None:
        """Take all of a kustomization; a component changes what was found ``since`` its user began, too."""
        real = path.resolve()
        if real in self._inside:
            raise ConfigError(f"{path} names itself", why=" -> ".join(map(str, [*self._inside, real])))
        read = read_kustomization(path, read_file(path, CAPS.size))
        self.found.problems += [(f"{path}:{line}", problem) for line, problem in read.problems]
        self._inside.append(real)
        before = len(self.found.occurrences) if since is None else since
        try:
            for inner in read.paths:
                self.look(inner)
            for one in read.maps:
                self._attempt(path, partial(self._map, one, path))
            for component in read.components:
                self._attempt(component, partial(self._component, component, before))
            for patch in read.patches:
                self._attempt(path, partial(self._patch, patch, path))
        finally:
            self._inside.pop()
        self.found.occurrences[before:] = [_set(item, read) for item in self.found.occurrences[before:]]

    def _component(self, folder: Path, since: int) -> None:
        name = next((name for name in KUSTOMIZATIONS if (folder / name).is_file()), None)
        if name is None:
            raise ConfigError(f"{folder} is no component", why=f"it has no {KUSTOMIZATIONS[0]}")
        self._kustomization(folder / name, since)

    def _patch(self, patch: Patch, path: Path) -> None:
        inline = isinstance(patch.source, str)
        data = patch.source.encode() if isinstance(patch.source, str) else self._content(patch.source)
        where = f"{path}:{patch.line} (inline patch)" if inline else str(patch.source)
        self._manifests(data, where, lambda document: patch_references(document, patch.target))

    def _map(self, generated: GeneratedMap, path: Path) -> None:
        """Look at the ConfigMap that kustomize would make."""
        data, places = {}, {}
        lines = [(f"{path}:{line}", text) for line, text in generated.literals]
        for key, file in generated.files:
            text = self._content(file).decode("utf-8", "replace")
            if key:
                data[key], places[key] = text, f"{file}:1"
            else:
                lines += [(f"{file}:{number}", line.strip()) for number, line in enumerate(text.splitlines(), 1)]
        for place, line in lines:
            key, equals, text = line.partition("=")
            if equals and not line.startswith("#"):
                data[key], places[key] = text.strip("\"'"), place
        for item in references({"kind": "ConfigMap", "metadata": {"name": generated.name}, "data": data}):
            self.found.occurrences.append(_occurrence(item, places[str(item.path[1])]))


def _set(item: Occurrence, kustomization: Kustomization) -> Occurrence:
    """Return ``item`` as the ``images:`` of a kustomization change it."""
    text = kustomization.changed(item.text) if item.template else item.text
    if text == item.text:
        return item
    try:
        image = ImageRef.parse(text)
    except ConfigError:
        return replace(item, text=text, image=None, certain=False)
    return replace(item, text=text, image=image, why=f"{item.why}, set by {kustomization.path}", certain=True)


def _occurrence(item: Reference, where: str) -> Occurrence:
    why = f"{item.owner}, {item.why}"
    return Occurrence(item.text, item.image, why, where, item.certain, is_template_image(item.path))


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
        "notes": [{"place": place, "note": text} for place, text in found.notes],
        "problems": [{"place": place, "problem": problem} for place, problem in found.problems],
    }
