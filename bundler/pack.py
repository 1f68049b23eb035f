"""The archive, written in one pass (format.md section 1): plan every member first, then stream it.

All digests and sizes are known from the manifests, so the head is signed before the first layer is
fetched, and nothing is staged.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from loader.bundle import frames
from loader.bundle.digest import sha256_hex
from loader.bundle.errors import FormatError, StorageError
from loader.bundle.head import Head
from loader.bundle.limits import BIG_MEMBER, FRAME, MAX_CONFIG, MAX_MEMBERS
from loader.bundle.manifest import File
from loader.bundle.ocimanifest import Descriptor
from loader.bundle.tarlayout import END, Layout, Member, header, padding

_NOT_IN_DIRECTORY = re.compile(r"[^a-z0-9-]")
# IOV_MAX is 1024 on Linux; a frame of 4 MiB has 65 parts.
_MAX_PARTS = 512


@dataclass(frozen=True)
class PackedImage:
    """One image directory: its small files with content, and the blobs its manifests name, in order of use."""

    directory: str
    texts: Mapping[str, bytes]
    configs: tuple[Descriptor, ...]
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True)
class Chunk:
    """Up to 4 MiB of a blob in order; ``frame`` is its finished zstd frame where the member is stored so."""

    content: memoryview
    frame: Optional[bytes]


def chunks_of(data: bytes, start: int) -> Iterator[Chunk]:
    """Cut what is at hand, from ``start`` on, as a big member is cut."""
    for first in range(start, len(data), FRAME):
        yield Chunk(memoryview(data)[first : first + FRAME], None)


def directory_name(index: int, repository: str) -> str:
    """``images/<dir>``: a 4-digit index, ``-``, the last repository component cut to 20 of ``[a-z0-9-]``."""
    last = repository.rpartition("/")[2]
    return f"images/{index:04d}-{_NOT_IN_DIRECTORY.sub('-', last)[:20]}"


def is_compressible(media_type: str) -> bool:
    """Whether a layer of this media type is an uncompressed tar, worth compressing."""
    return media_type.endswith((".tar", "+tar"))


def plan_files(documents: Mapping[str, bytes], images: Sequence[PackedImage]) -> tuple[File, ...]:
    """Return every member after ``bundle.json`` in archive order, each blob stored once.

    Raises ``FormatError`` above the cap on members.
    """
    plan = _Plan()
    for path, data in documents.items():
        plan.text(path, data)
    small: dict[str, object] = {}
    for image in images:
        small.update({f"{image.directory}/{name}": data for name, data in image.texts.items()})
        small.update({_blob_path(image, blob): blob for blob in image.configs if blob.size <= MAX_CONFIG})
    for path in sorted(small):
        item = small[path]
        if isinstance(item, bytes):
            plan.text(path, item)
        elif isinstance(item, Descriptor):
            plan.blob(path, item)
    rest: list[tuple[str, Descriptor]] = []
    uses = [
        (_blob_path(image, blob), blob)
        for image in images
        for blob in (*(c for c in image.configs if c.size > MAX_CONFIG), *image.layers)
    ]
    for path, blob in uses:
        if blob.size >= BIG_MEMBER and not plan.has_blob(blob):
            plan.blob(path, blob)
        else:
            rest.append((path, blob))
    for path, blob in sorted(rest, key=lambda use: use[0]):
        plan.blob(path, blob)
    if len(plan.files) > MAX_MEMBERS:
        raise FormatError("the bundle has too many files", why=f"{len(plan.files)}; at most {MAX_MEMBERS}")
    return tuple(plan.files.values())


def _blob_path(image: PackedImage, blob: Descriptor) -> str:
    return f"{image.directory}/{blob.digest[7:]}"


class _Plan:
    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self._stored: dict[str, str] = {}

    def text(self, path: str, data: bytes) -> None:
        self.files[path] = File(path, len(data), sha256_hex(data), "raw", None)

    def has_blob(self, blob: Descriptor) -> bool:
        return blob.digest in self._stored

    def blob(self, path: str, blob: Descriptor) -> None:
        if path in self.files:
            return
        first = self._stored.setdefault(blob.digest, path)
        compress = blob.size >= BIG_MEMBER and is_compressible(blob.media_type)
        stored = "zstd" if compress else "raw"
        self.files[path] = (
            File(path, blob.size, blob.digest[7:], stored, None)
            if first == path
            else File(path, blob.size, blob.digest[7:], None, first)
        )


class ArchiveWriter:
    """Writes frames to an open file descriptor as they fill. Memory is one glue frame.

    ``on_written`` gets the bytes of each write. The bytes written are exactly those that
    :class:`loader.bundle.tarlayout.Layout` predicts.
    """

    def __init__(self, fd: int, name: str, on_written: Callable[[int], None]) -> None:
        self._on_written = on_written
        self._fd = fd
        self._name = name
        self._glue = bytearray()
        self._frames: list[tuple[int, int]] = []
        self.written = 0

    def adopt(self, size: int, written: Sequence[tuple[int, int]], glue: bytes) -> None:
        """Go on behind ``size`` bytes that are in the file: its frames (stored, content), and the tar's ``glue``."""
        self.written = size
        self._frames = list(written)
        self._add(glue)

    def text(self, path: str, data: bytes) -> None:
        """Add a small member whose content is at hand."""
        self._open(path, len(data))
        if len(data) >= BIG_MEMBER:
            self._flush()
            for start in range(0, len(data), FRAME):
                self._raw(memoryview(data)[start : start + FRAME])
        else:
            self._add(data)
        self._add(bytes(padding(len(data))))

    def link(self, path: str, target: str) -> None:
        """Add a hard link."""
        self._add(header(path, 0, target))

    def blob(self, file: File, chunks: Iterable[Chunk], *, begun: bool = False) -> None:
        """Add a blob from chunks in order. Whether they are the file's is seen when they are read back.

        Of one that is ``begun`` the header, and what comes before the chunks, are written already.
        """
        big = file.size >= BIG_MEMBER
        if not begun:
            self._open(file.path, file.size)
            if big:
                self._flush()
        for chunk in chunks:
            if not big:
                self._add(chunk.content)
            elif chunk.frame is not None:
                self._write([chunk.frame])
                self._frames.append((len(chunk.frame), len(chunk.content)))
            else:
                self._raw(chunk.content)
        self._add(bytes(padding(file.size)))

    def finish(self) -> None:
        """Write the end of the tar stream, the last glue frame and the seek table."""
        self._add(END)
        self._flush()
        self._write([frames.seek_table(self._frames)])

    def _open(self, path: str, size: int) -> None:
        self._add(header(path, size))

    def _add(self, data: frames.Buffer) -> None:
        view = memoryview(data)
        while view:
            part = view[: FRAME - len(self._glue)]
            self._glue += part
            view = view[len(part) :]
            if len(self._glue) == FRAME:
                self._flush()

    def _flush(self) -> None:
        if self._glue:
            self._raw(memoryview(bytes(self._glue)))
            self._glue.clear()

    def _raw(self, content: memoryview) -> None:
        self._write(frames.raw_frame(content))
        self._frames.append((frames.raw_size(len(content)), len(content)))

    def _write(self, parts: list[frames.Buffer]) -> None:
        for start in range(0, len(parts), _MAX_PARTS):
            self._write_all(parts[start : start + _MAX_PARTS])

    def _write_all(self, parts: list[frames.Buffer]) -> None:
        wanted = sum(len(part) for part in parts)
        try:
            done = os.writev(self._fd, parts)
            if done < wanted:
                rest = memoryview(b"".join(parts))[done:]
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            raise StorageError(
                f"cannot write {self._name}",
                why=f"{error.strerror} after {self.written} bytes",
                hint="free some space or name another folder with -o",
            ) from error
        self.written += wanted
        self._on_written(wanted)


def head_members(head: Head) -> Iterator[tuple[str, bytes]]:
    """The head's members in archive order."""
    yield "SHA256SUMS", head.sums
    for label, signature in head.signatures:
        yield f"SHA256SUMS.{label}.sig", signature
    yield "bundle.json", head.manifest


def head_tar(head: Head) -> bytes:
    """``X.head.tar``: the head alone as a plain tar, for version control and as ``--base``."""
    parts: list[bytes] = []
    for path, data in head_members(head):
        parts += [header(path, len(data)), data, bytes(padding(len(data)))]
    parts.append(END)
    return b"".join(parts)


def layout_members(head: Head, files: Sequence[File]) -> list[Member]:
    """Every member of the archive as the layout sees it."""
    members = [member for member, _ in head.members]
    members += [Member(file.path, file.size, file.stored or "raw", file.link_to) for file in files]
    return members


def largest_archive(layout: Layout) -> int:
    """Bytes of the archive with every member stored raw; compressed ones make it smaller."""
    alike = Counter(frame.size for frame in layout.frames)
    stored = sum(frames.raw_size(size) * count for size, count in alike.items())
    return stored + frames.seek_table_size(len(layout.frames))
