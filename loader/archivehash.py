"""The SHA-256 of the archive file itself, for the record: what `sha256sum` prints for it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from loader.bundle.errors import AirgapError
from loader.bundle.filesource import FileSource
from loader.bundle.frames import MAGIC

if TYPE_CHECKING:  # it begins while these are still being imported
    from loader.bundle.archive import ByteSource

_CHUNK = 2**22


class ArchiveHash:
    """Hashes one archive beside everything else; what verifies it are the steps of the format, not this."""

    def __init__(self, source: ByteSource) -> None:
        # The archive on a media set is no file, and its discs may need changing: it has no hash of its own here.
        self._source = source if isinstance(source, FileSource) else None
        self._stop = threading.Event()
        self._digest: Optional[str] = None
        self._thread = threading.Thread(target=self._run, name="archive hash", daemon=True)

    def is_of(self, source: ByteSource) -> bool:
        """Tell whether it is the file of ``source`` that is hashed."""
        mine = self._source
        return mine is not None and isinstance(source, FileSource) and mine.is_same(source)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Give up where it stands; the file may be closed afterwards."""
        self._stop.set()
        self._thread.join()

    def row(self) -> Optional[dict[str, Any]]:
        """Wait and return name, size and hash; None for discs.

        Without a hash once stopped, or where the file cannot be read.
        """
        self._thread.join()
        if self._source is None:
            return None
        return {"name": self._source.name, "sha256": self._digest, "size": self._source.size}

    def _run(self) -> None:
        source = self._source
        if source is None:
            return
        running, buffer, left = hashlib.sha256(), memoryview(bytearray(_CHUNK)), source.size
        try:
            while left and not self._stop.is_set():
                got = source.read_into(source.size - left, buffer)
                if not got:
                    return  # shorter than it was: a hash of it tells nothing
                running.update(buffer[:got])
                left -= min(got, left)
        except AirgapError:
            return  # whoever needs the bytes meets the same error and says so
        self._digest = None if left else running.hexdigest()


@contextmanager
def hashed(source: ByteSource, begun: Optional[ArchiveHash] = None) -> Iterator[ArchiveHash]:
    """Hash ``source`` while the context lasts; go on with what was ``begun``, if it is the hash of the same file."""
    found = begun
    if found is None or not found.is_of(source):
        if found is not None:
            found.stop()
        found = ArchiveHash(source)
        found.start()
    try:
        yield found
    finally:
        found.stop()


@contextmanager
def hashed_ahead(paths: Sequence[Path]) -> Iterator[Optional[ArchiveHash]]:
    """Begin with the hash before it is known what ``paths`` are, if they look like one archive; None otherwise.

    Whatever is wrong with the file is told by whoever opens it next.
    """
    with ExitStack() as stack:
        found = None
        with suppress(AirgapError):
            if len(paths) == 1:
                source = stack.enter_context(FileSource(str(paths[0])))
                start = memoryview(bytearray(len(MAGIC)))
                if source.read_into(0, start) == len(start) and start == MAGIC:
                    found = ArchiveHash(source)
                    found.start()
                    stack.callback(found.stop)
        yield found
