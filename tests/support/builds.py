"""Builds in one process: images in memory as sources, and a config and ports around them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from bundler.build import BuildPorts, Built, build
from bundler.config import BuildConfig, parse_config
from bundler.imagelist import ConfigImage
from bundler.lock import Lock
from loader.bundle.errors import RegistryError
from loader.meter import Meter
from loader.signing import Signer
from tests.support.bundles import make_signer
from tests.support.images import MadeImage

START = 1_700_000_000


class MemoryBody:
    """An open range of a blob that hands out ``step`` bytes at a time."""

    def __init__(self, data: bytes, step: int, rest: bytes = b"") -> None:
        self._data = memoryview(data)
        self._step = step
        self._rest = rest

    def take_whole(self) -> bool:
        if self._rest:
            self._data = memoryview(bytes(self._data) + self._rest)
        return bool(self._rest)

    def readinto(self, view: memoryview, /) -> int:
        part = self._data[: min(len(view), self._step)]
        view[: len(part)] = part
        self._data = self._data[len(part) :]
        return len(part)


@dataclass
class MemoryImage:
    """An image as a source; ``read`` lists what was opened: (digest, start, length).

    Without ``ranges`` it sends the whole of a blob, as a server does that ignores Range.
    """

    image: MadeImage
    signed: Mapping[str, bytes] = field(default_factory=dict)
    step: int = 1 << 30
    spoil: Callable[[str, bytes], bytes] = lambda _, data: data
    before: Callable[[str], None] = lambda _: None
    read: list[tuple[str, int, int]] = field(default_factory=list)
    ranges: bool = True

    def manifest(self, digest: Optional[str] = None) -> tuple[bytes, str]:
        for known, media_type, data in self.image.manifests:
            if known == (digest or self.image.digest):
                return self.spoil(known, data), media_type
        raise RegistryError(f"manifest {digest} unknown", status=404)

    @contextlib.contextmanager
    def open_blob(
        self, digest: str, size: int, *, start: int = 0, length: Optional[int] = None
    ) -> Iterator[MemoryBody]:
        wanted = size - start if length is None else length
        self.read.append((digest, start, wanted))
        self.before(digest)
        if digest not in self.image.blobs:
            raise RegistryError(f"blob {digest} unknown", status=404)
        data = self.spoil(digest, self.image.blobs[digest])
        yield MemoryBody(data[start : start + wanted], self.step, b"" if self.ranges else data[start + wanted :])

    def signatures(self) -> Mapping[str, bytes]:
        return self.signed

    def neighbours(self) -> None:
        return None


@dataclass
class Outside:
    """The images there are, by the name the config gives them; ``opened`` lists what was asked for."""

    images: Mapping[str, MemoryImage]
    opened: list[tuple[str, Optional[str]]] = field(default_factory=list)

    def open(self, image: ConfigImage, digest: Optional[str]) -> MemoryImage:
        self.opened.append((str(image.name), digest))
        name = image.name.name + (f":{image.name.tag}" if image.name.tag else "")
        if name not in self.images:
            raise RegistryError(f"{name} is not there", status=404, why="not found")
        return self.images[name]


def make_config(images: Sequence[str], **fields: Any) -> BuildConfig:
    """The config of ``images``; ``fields`` are lines of YAML by key."""
    lines = {"name": "demo", "version": '"1"', "registry": "registry.example:5000", **fields}
    text = "".join(f"{key}: {value}\n" for key, value in lines.items())
    text += "images:\n" + "".join(f"- {image}\n" for image in images)
    return parse_config(text.encode(), directory=Path(), what="bundle.yaml", read=lambda path, _: path.read_bytes())


@dataclass
class Told:
    """What a build says and counts."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    totals: dict[str, int] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)
    items: list[tuple[str, int, int]] = field(default_factory=list)

    def say(self, step: str, text: str) -> None:
        self.lines.append((step, text))

    @contextlib.contextmanager
    def progress(self, step: str, total: int) -> Iterator[Meter]:
        self.totals[step] = total
        self.counted[step] = 0
        yield _Counted(self, step)


@dataclass
class _Counted:
    told: Told
    step: str

    def __call__(self, size: int, /) -> None:
        self.told.counted[self.step] += size

    def item(self, name: str, done: int, size: int) -> None:
        self.told.items.append((name, done, size))


def make_ports(outside: Outside, told: Optional[Told] = None, **fields: Any) -> BuildPorts:
    told = told or Told()
    ticks = iter(range(1_000_000))
    ports: dict[str, Any] = {
        "open_source": outside.open,
        "now": START,
        "say": told.say,
        "progress": told.progress,
        "clock": lambda: float(next(ticks)),
        **fields,
    }
    return BuildPorts(**ports)


def run_build(
    outside: Outside,
    output: Path,
    *,
    lock: Optional[Lock] = None,
    signers: Optional[Sequence[Signer]] = None,
    config: Optional[BuildConfig] = None,
    ports: Optional[BuildPorts] = None,
) -> Built:
    """Build every image of ``outside`` into ``output``, signed by the builder."""
    lock = lock or Lock()
    return build(
        config or make_config(list(outside.images)),
        (lock, lock),
        output,
        [make_signer("builder")] if signers is None else signers,
        ports or make_ports(outside),
    )
