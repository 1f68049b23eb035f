"""A skopeo ``dir:`` layout as a source: complete, or refused. And the names of its files.

Layout: containers/image ``directory/directory_transport.go``. Versions 1.9 to 1.22 of skopeo write
``version`` first, so an aborted copy looks finished: what counts is that every file named is there.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Optional

from loader.bundle.digest import digest_of, is_digest, require_digest
from loader.bundle.errors import FormatError, StorageError
from loader.bundle.ocimanifest import MAX_MANIFEST, Descriptor, ParsedManifest, parse_manifest
from loader.presence import is_folder

VERSION = "version"
VERSION_TEXT = b"Directory Transport Version: 1.1\n"
MANIFEST = "manifest.json"
MAX_SIGNATURE = 2**20
"""A sigstore signature with certificate and log entry has some 10 KiB."""
MAX_SIGNATURES = 64
_NEWEST = (1, 2)
_VERSION = re.compile(rb"Directory Transport Version: ([0-9]{1,4})\.([0-9]{1,4})\n?")


def blob_name(digest: str) -> str:
    """Return the file name of a layer or config: its 64 hex digits."""
    return _hex(digest)


def manifest_name(digest: str) -> str:
    """Return the file name of a child manifest; the top one is ``MANIFEST``."""
    return f"{_hex(digest)}.manifest.json"


def signature_name(number: int, child: Optional[str] = None) -> str:
    """Return the file name of signature ``number`` (from 1) of the top manifest, or of the child with that digest."""
    return f"signature-{number}" if child is None else f"{_hex(child)}.signature-{number}"


def _hex(digest: str) -> str:
    if not is_digest(digest):
        raise RuntimeError(f"{digest!a} is not a sha256 digest")
    return digest.partition(":")[2]


@dataclass(frozen=True)
class DirLayout:
    """A complete layout; ``manifests`` has the top and all children, by digest. Blobs stay on disk.

    ``signatures``: (file name, bytes). ``absent``: foreign layers that are rightly not there.
    """

    path: Path
    digest: str
    manifests: Mapping[str, bytes]
    parsed: Mapping[str, ParsedManifest]
    signatures: tuple[tuple[str, bytes], ...]
    absent: tuple[Descriptor, ...]

    @classmethod
    def open(cls, path: Path) -> DirLayout:
        """Read the manifests and check that every file they name is there with its size.

        ``FormatError`` names what is missing or wrong, ``TrustError`` a child whose hash differs, ``StorageError``
        what cannot be read. Blobs are not hashed here: their reader does.
        """
        _check_version(path)
        top = _read(path, MANIFEST, MAX_MANIFEST)
        digest = digest_of(top)
        manifests = {digest: top}
        parsed = {digest: parse_manifest(top, str(path / MANIFEST))}
        for child in parsed[digest].children:
            name = manifest_name(child.digest)
            data = _read(path, name, MAX_MANIFEST)
            require_digest(data, child.digest, str(path / name))
            if len(data) != child.size:
                raise FormatError(f"{path / name} has another size", why=f"{len(data)}, the index says {child.size}")
            manifests[child.digest] = data
            parsed[child.digest] = parse_manifest(data, str(path / name), child.media_type)
        absent = [blob for one in parsed.values() for blob in one.blobs if not _check_blob(path, blob)]
        return cls(path, digest, manifests, parsed, _signatures(path, digest, manifests), tuple(absent))

    @property
    def media_type(self) -> str:
        """Type of the top manifest."""
        return self.parsed[self.digest].media_type

    def manifest(self, digest: Optional[str] = None) -> tuple[bytes, str]:
        """Return (bytes, media type) of the top manifest or of a child; ``KeyError`` for any other digest."""
        found = digest or self.digest
        return self.manifests[found], self.parsed[found].media_type

    def open_blob(self, digest: str, size: int, start: int = 0, length: Optional[int] = None) -> FilePart:
        """Open bytes ``start`` to ``start + length`` of a blob file of ``size`` bytes."""
        name = blob_name(digest)
        stream, found = _open(self.path, name)
        if found != size:
            stream.close()
            raise FormatError(f"{self.path / name} has another size", why=f"{found} bytes, not {size}")
        stream.seek(start)
        return FilePart(stream, size - start if length is None else length, str(self.path / name))


class FilePart:
    """``read`` and ``readinto`` over a part of a file; a context manager. The bytes are not hashed here."""

    def __init__(self, stream: BinaryIO, length: int, what: str) -> None:
        self._stream = stream
        self._left = length
        self._what = what

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, ``b""`` at the end; ``StorageError`` when the file became shorter."""
        wanted = self._left if size < 0 else min(size, self._left)
        try:
            data = self._stream.read(wanted)
        except OSError as error:
            raise StorageError(f"cannot read {self._what}", why=error.strerror or str(error)) from error
        if wanted and not data:
            raise StorageError(f"{self._what} became shorter while it was read", why=f"{self._left} bytes are missing")
        self._left -= len(data)
        return data

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill ``buffer`` as far as bytes come; 0 at the end."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def take_whole(self) -> bool:
        """Tell that a file keeps to the part asked for."""
        return False

    def __enter__(self) -> FilePart:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._stream.close()


def _check_version(path: Path) -> None:
    if not is_folder(path):
        raise FormatError(f"{path} is not a dir: layout", why="it is not a directory")
    # A missing version is accepted by skopeo too; the manifest decides.
    if not _exists(path, VERSION):
        return
    data = _read(path, VERSION, 1024)
    match = _VERSION.fullmatch(data)
    if match is None:
        raise FormatError(f"{path / VERSION} is not a dir: layout's", why=ascii(data[:80].decode("latin-1")))
    if (int(match[1]), int(match[2])) > _NEWEST:
        raise FormatError(f"{path} is a newer dir: layout than we know", why=f"version {int(match[1])}.{int(match[2])}")


def _check_blob(path: Path, blob: Descriptor) -> bool:
    name = blob_name(blob.digest)
    if blob.foreign and not _exists(path, name):
        return False
    stream, size = _open(path, name)
    stream.close()
    if size != blob.size:
        raise FormatError(
            f"{path / name} has another size", why=f"{size} bytes, the manifest says {blob.size}", hint=_COPY_AGAIN
        )
    return True


def _signatures(path: Path, top: str, manifests: Mapping[str, bytes]) -> tuple[tuple[str, bytes], ...]:
    found = []
    for digest in manifests:
        for number in range(1, MAX_SIGNATURES + 2):
            name = signature_name(number, None if digest == top else digest)
            if not _exists(path, name):
                break
            if number > MAX_SIGNATURES:
                raise FormatError(f"{path} has too many signatures", why=f"more than {MAX_SIGNATURES} of one manifest")
            found.append((name, _read(path, name, MAX_SIGNATURE)))
    return tuple(found)


def _exists(path: Path, name: str) -> bool:
    return os.path.lexists(path / name)


def _read(path: Path, name: str, cap: int) -> bytes:
    stream, size = _open(path, name)
    with stream:
        if size > cap:
            raise FormatError(f"{path / name} is too large", why=f"{size} bytes, at most {cap}")
        try:
            return stream.read(cap)
        except OSError as error:
            raise StorageError(f"cannot read {path / name}", why=error.strerror or str(error)) from error


def _open(path: Path, name: str) -> tuple[BinaryIO, int]:
    """Open a regular file: no link leads out of the layout, no FIFO blocks us."""
    full = path / name
    try:
        descriptor = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise FormatError(f"{path} is incomplete", why=f"{name} is not there", hint=_COPY_AGAIN) from error
    except OSError as error:
        if os.path.islink(full):  # noqa: PTH114 - the same call as lexists above, without a Path in between
            raise FormatError(f"{full} is a symbolic link", why="a layout has regular files only") from error
        raise StorageError(f"cannot open {full}", why=error.strerror or str(error)) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise FormatError(f"{full} is not a regular file", why="links, folders and devices are no part of a layout")
    return os.fdopen(descriptor, "rb", buffering=0), status.st_size


_COPY_AGAIN = "copy the image again: skopeo copy --all docker://… dir:…"
