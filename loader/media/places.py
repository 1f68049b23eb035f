"""What a SOURCE is: an archive, or one or more discs as folders, ISO files or block devices."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Optional, Union

from loader.bundle.archive import ByteSource
from loader.bundle.discs import Disc
from loader.bundle.errors import BundleError, ConfigError, FormatError, StorageError
from loader.bundle.filesource import FileSource
from loader.bundle.mediaset import SET
from loader.media.folder import LOST_AND_FOUND, FolderDisc
from loader.media.iso9660 import BLOCK, MAGIC, MAGIC_OFFSET, IsoDisc


class ImageFile(FileSource):
    """An ISO image: a regular file, or a block device of which it is the beginning."""

    def measure(self, info: os.stat_result, path: str) -> int:
        """Return the size of the file, or of the device as its end says."""
        if stat.S_ISREG(info.st_mode):
            return info.st_size
        if not stat.S_ISBLK(info.st_mode):
            raise FormatError(
                f"{path} is not a regular file, a folder or a block device", why="a SOURCE is one of them"
            )
        # Opened without waiting, an optical drive does not look what is in it now.
        waiting = os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(waiting, self._fd, inheritable=False)
        os.close(waiting)
        return os.lseek(self._fd, 0, os.SEEK_END)


class BrokenDisc:
    """A disc that can't even be opened: whatever is asked of it raises ``error``."""

    def __init__(self, name: str, error: Union[BundleError, StorageError]) -> None:
        self.name = name
        self._error = error

    def entries(self) -> Mapping[str, str]:
        """Raise the error."""
        raise self._error

    def open(self, path: str) -> ByteSource:
        """Raise the error."""
        raise self._error


def find_archive(sources: Sequence[Path]) -> Optional[Path]:
    """Return the one archive that ``sources`` name, or None when they are discs.

    Raises ``ConfigError`` for several archives, or archives and discs together; ``StorageError`` for what is not there.
    """
    archives = [path for path in sources if not is_disc(path)]
    if not archives:
        return None
    if len(sources) > 1:
        raise ConfigError(
            f"{archives[0]} is an archive and not the only SOURCE",
            why="one archive, or discs of one media set",
            hint="give the archive alone, or the folders, ISO files and devices of one set",
        )
    return archives[0]


def open_discs(sources: Sequence[Path], stack: ExitStack) -> list[Disc]:
    """Open every disc that ``sources`` name; ``stack`` closes them. A folder may hold discs or be one."""
    paths = dict.fromkeys(disc for source in sources for disc in disc_paths(source))
    return [_open_disc(path, stack) for path in paths]


def _open_disc(path: Path, stack: ExitStack) -> Disc:
    try:
        if path.is_dir():
            return stack.enter_context(FolderDisc(path))
        return IsoDisc(stack.enter_context(ImageFile(str(path))), str(path))
    except (BundleError, StorageError) as error:
        if not os.path.lexists(path):
            raise  # what was typed wrong is no lost disc
        # Others, and parity, may be enough: whoever reads the discs says why this one is left out.
        return BrokenDisc(str(path), error)


def disc_paths(source: Path) -> list[Path]:
    """The discs in ``source``: itself, or, of a folder without ``set.json``, the discs right inside."""
    if not source.is_dir():
        return [source]
    try:
        inside = sorted(source.iterdir())
        if (source / SET).exists():
            return [source]
        found = [path for path in inside if _is_inside(path)]
    except OSError as error:
        raise StorageError(f"cannot read {source}", why=error.strerror or str(error)) from error
    # A disc mounted without its long names shows set.json in another spelling: the reader of discs explains that.
    if not found and not any(path.name.upper().startswith("SET") for path in inside):
        raise FormatError(
            f"{source} is not a regular file and holds no discs",
            why="an archive is a file NAME-VERSION.tar.zst, and a disc has set.json at its top",
            hint=_what_to_name(inside),
        )
    return found or [source]


def _what_to_name(inside: Sequence[Path]) -> str:
    archive = next((path for path in inside if path.name.endswith(".tar.zst")), None)
    return f"name the archive itself: {archive}" if archive is not None else "name the folders that have set.json"


def _is_inside(path: Path) -> bool:
    """Tell whether what stands in a folder of discs is one; also where nobody may look into it, but for ext4's own."""
    try:
        return stat.S_ISREG((path if _is_image(path) else path / SET).stat().st_mode)
    except PermissionError:
        return path.name != LOST_AND_FOUND
    except OSError:
        return False


def _is_image(path: Path) -> bool:
    # FAT and Windows show names in capitals.
    return path.suffix.lower() == ".iso"


def fingerprint(source: Path) -> Optional[tuple[object, ...]]:
    """Something that changes when another disc is put into ``source``; None while nothing is there to be read."""
    try:
        found = tuple(_disc_fingerprint(path) for path in disc_paths(source))
    except (OSError, FormatError, StorageError):
        return None
    return found if None not in found else None


def _disc_fingerprint(path: Path) -> Optional[tuple[object, ...]]:
    info = path.stat()
    if stat.S_ISDIR(info.st_mode):
        info = (path / SET).stat()
    if not stat.S_ISBLK(info.st_mode):
        return str(path), info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns
    with ImageFile(str(path)) as device:
        # The primary descriptor: label, size and date of what is in the drive.
        block = bytearray(BLOCK)
        device.read_into(MAGIC_OFFSET - 1, memoryview(block))
        return (str(path), device.size, bytes(block)) if any(block) else None


def is_disc(path: Path) -> bool:
    """Tell whether ``path`` is a folder, a device or an ISO image, and not an archive."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise StorageError(f"cannot open {path}", why=error.strerror or str(error)) from error
    if not stat.S_ISREG(mode) or _is_image(path):
        return True
    with FileSource(str(path)) as source:
        found = bytearray(len(MAGIC))
        source.read_into(MAGIC_OFFSET, memoryview(found))
    return found == MAGIC
