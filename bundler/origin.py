"""Where an image's bytes are, as the config writes it in ``from`` and ``fromDirs``."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

from loader.bundle.errors import ConfigError
from loader.oci.model import ImageRef

# What skopeo reads for us, and whether what it holds is a path (relative to the config) or a name.
TRANSPORTS: Mapping[str, bool] = {
    "oci": True,
    "oci-archive": True,
    "docker-archive": True,
    "containers-storage": False,
    "docker-daemon": False,
}
# These hold no registry manifest: skopeo makes one, whose digest is not the registry's.
NEW_DIGEST = frozenset({"docker-archive", "docker-daemon"})
NAMES_FILE = "names.txt"
MAX_NAMES = 1 << 20
_MAX_FOLDERS = 10_000
# The text becomes part of an argument of skopeo, and of messages.
_LOCATION = re.compile(r"[^\x00-\x1f\x7f]{1,1000}")

ListFolders = Callable[[Path], "list[str]"]


@dataclass(frozen=True)
class SkopeoOrigin:
    """A place that skopeo reads: ``transport`` is one of ``TRANSPORTS``, ``location`` what follows its colon."""

    transport: str
    location: str

    def __str__(self) -> str:
        return f"{self.transport}:{self.location}"


Origin = Union[ImageRef, Path, SkopeoOrigin]


def parse_origin(text: str, directory: Path) -> Origin:
    """Return the place that ``from`` names; paths are relative to ``directory``. ``ConfigError`` for no such form."""
    transport, colon, rest = text.partition(":")
    if text.startswith("docker://"):
        return ImageRef.parse(text[len("docker://") :])
    if transport == "dir" and rest and "\0" not in rest:
        return directory / rest
    if colon and rest and transport in TRANSPORTS and _LOCATION.fullmatch(rest):
        return SkopeoOrigin(transport, str(directory / rest) if TRANSPORTS[transport] else rest)
    forms = ", ".join(f"{name}:…" for name in TRANSPORTS)
    raise ConfigError(
        f"{text[:200]!a} is not dir:PATH, docker://REFERENCE or {forms}",
        why="from says where the bytes are, in skopeo's words",
    )


def list_folders(pattern: Path) -> list[str]:
    """Return the names of the folders that ``pattern`` (``parent/*``) matches, sorted. Raises ``ConfigError``."""
    try:
        with os.scandir(pattern.parent) as entries:
            found = sorted(
                entry.name for entry in entries if entry.is_dir() and fnmatch.fnmatchcase(entry.name, pattern.name)
            )
    except OSError as error:
        raise ConfigError(f"{pattern.parent} cannot be listed", why=error.strerror or str(error)) from error
    if len(found) > _MAX_FOLDERS:
        raise ConfigError(f"{pattern} matches too much", why=f"{len(found)} folders; at most {_MAX_FOLDERS}")
    return found


@dataclass(frozen=True)
class NamedFolders:
    """What a ``names.txt`` says of the folders beside it: (folder, image) in its order, and every problem."""

    images: tuple[tuple[str, ImageRef], ...]
    problems: tuple[str, ...]


def read_names(data: bytes, folders: list[str]) -> NamedFolders:
    """Match the lines of a ``names.txt`` with ``folders``.

    A line is ``FOLDER IMAGE``, or ``IMAGE`` alone for the folder that is called like the last part of its name
    (with or without the tag). ``#`` begins a comment. A folder may have several names.
    """
    if len(data) > MAX_NAMES:
        return NamedFolders((), (f"{NAMES_FILE} is larger than {MAX_NAMES} bytes",))
    images, problems = [], []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            image = ImageRef.parse(words[-1])
        except ConfigError as error:
            problems.append(f"{NAMES_FILE} line {number}: {error}")
            continue
        folder = words[0] if len(words) == 2 else _folder_of(image, folders)
        if len(words) > 2 or folder not in folders:
            shown = words[0] if len(words) == 2 else str(image)
            problems.append(
                f"{NAMES_FILE} line {number}: no folder for {shown[:200]}" if len(words) < 3
                else f"{NAMES_FILE} line {number} is not FOLDER IMAGE"
            )  # fmt: skip
        else:
            images.append((folder or "", image))
    known = {folder for folder, _ in images}
    problems += [f"{NAMES_FILE} has no name for {folder}" for folder in folders if folder not in known]
    return NamedFolders(tuple(images), tuple(problems))


def _folder_of(image: ImageRef, folders: list[str]) -> Optional[str]:
    last = image.repository.rpartition("/")[2]
    names = [f"{last}:{image.tag}", f"{last}-{image.tag}", f"{last}_{image.tag}", last]
    return next((name for name in names if name in folders), None)
