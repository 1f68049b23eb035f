"""Made sets on disk, as a burned disc or a mount point shows them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.discs import MadeSet, MemoryDisc


def write_disc(folder: Path, disc: MemoryDisc) -> Path:
    """Write a disc's files below ``folder``."""
    for path, data in disc.files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return folder


def write_discs(folder: Path, made: MadeSet, *names: str) -> list[Path]:
    """Write the named discs of a set, all without names, each into a folder of its own."""
    return [write_disc(folder / name, made.disc(name)) for name in names or made.shares]


@contextlib.contextmanager
def no_progress(_: str, __: int) -> Iterator[Callable[[int], None]]:
    """A progress that nobody sees."""
    yield lambda _: None
