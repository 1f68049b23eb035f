"""The folder a media set is written to: empty before, finished discs after, nothing in between."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from loader.alone import alone_in
from loader.bundle.errors import ConfigError, StorageError

_PARTS = ".media.part"


@contextlib.contextmanager
def part_folder(output: Path) -> Iterator[Path]:
    """Give a hidden folder in ``output`` to write in; it is removed in the end, whatever happened.

    Raises ``ConfigError`` unless ``output`` is new, empty, or holds no more than what an interrupted run left.
    """
    parts = output / _PARTS
    with alone_in(output), _cleared(output, parts):
        yield parts


@contextlib.contextmanager
def _cleared(output: Path, parts: Path) -> Iterator[None]:
    try:
        older = sorted(entry.name for entry in output.iterdir() if entry.name != _PARTS)
        if older:
            raise ConfigError(
                f"{output} is not empty",
                why=f"it has {', '.join(older[:4])}{' …' if len(older) > 4 else ''}",
                hint="name a new folder with -o: discs of two runs must not mix",
            )
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir()
    except OSError as error:
        raise StorageError(f"cannot write {output}", why=error.strerror or str(error)) from error
    try:
        yield
    finally:
        shutil.rmtree(parts, ignore_errors=True)
