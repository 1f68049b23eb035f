"""The story of a build: resolve, compose, pack, verify our own result, name it."""

from __future__ import annotations

import hashlib
import os
import queue
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from bundler.compose import Composition, compose
from bundler.config import BuildConfig
from bundler.fetch import BlobRequest, Fetcher
from bundler.imagelist import ConfigImage
from bundler.lock import Lock, changes
from bundler.output import Partial, partial_file, write_file
from bundler.pack import ArchiveWriter, PackedImage, head_members, head_tar, layout_members
from bundler.render.documents import summary
from bundler.resolve import ImageSource, ResolvedImage, resolve
from loader.bundle import frames
from loader.bundle.errors import BundleError, ConfigError, StorageError
from loader.bundle.head import Head, read_head
from loader.bundle.keys import parse_public_key
from loader.bundle.ocimanifest import Descriptor
from loader.bundle.policy import TrustPolicy
from loader.bundle.tarlayout import Layout
from loader.bundle.verify import Complete, Trust, verify_content, verify_head
from loader.bundle.volumes import FileSource
from loader.signing import CryptographyCheck, Signer, load_signer, new_key_pair
from loader.zstd import find_decoder

Say = Callable[[str, str], None]
OnBytes = Callable[[str, int, int], None]


@dataclass(frozen=True)
class BuildPorts:
    """What a build needs from outside. ``now`` is in seconds since the epoch, ``open_source`` gives an image's bytes.

    ``on_bytes(step, more, total)`` may be called from any thread.
    """

    open_source: Callable[[ConfigImage], ImageSource]
    now: int
    say: Say
    on_bytes: OnBytes
    jobs: int = 3


@dataclass(frozen=True)
class Built:
    """A finished bundle; ``unchanged`` when the very same file was there already."""

    path: Path
    size: int
    sha256: str
    composition: Composition
    unchanged: bool


def build(config: BuildConfig, lock: Lock, output: Path, signers: Sequence[Signer], ports: BuildPorts) -> Built:
    """Write the bundle of ``config`` into the folder ``output`` and verify it.

    Raises ``ConfigError``, ``RegistryError`` or ``StorageError``; nothing is left under a final name then.
    """
    resolved = resolve(config.images, lock, ports.open_source, jobs=max(ports.jobs, 6))
    planned = compose(config, lock, resolved, signers, now=ports.now)
    ports.say("resolved", _resolved_line(resolved, planned.packed))
    for line in changes(lock, planned.lock):
        ports.say("lock", line)
    ports.say("rendered", summary(planned.documents))
    path = output / f"{planned.name}.tar.zst"
    with partial_file(path) as partial:
        unchanged = _is_there(path, planned.head, signers)
        if unchanged:
            sha256 = _sha256_of(path)
        else:
            _check_space(output, planned)
            sha256 = _pack(partial, planned, resolved, ports)
            _self_verify(partial, planned.head, signers, ports)
            partial.keep(path)
        _write_sidecars(path, sha256, planned.head, signers)
    return Built(path, path.stat().st_size, sha256, planned, unchanged)


def _resolved_line(resolved: Sequence[ResolvedImage], packed: Sequence[PackedImage]) -> str:
    blobs = {blob.digest: blob.size for image in packed for blob in (*image.configs, *image.layers)}
    uses = sum(
        size
        for image in packed
        for size in {blob.digest: blob.size for blob in (*image.configs, *image.layers)}.values()
    )
    count = sum(1 + len(image.children) for image in resolved)
    unique = sum(blobs.values())
    return (
        f"{len(resolved)} images, {count} manifests, {len(blobs)} blobs, {human(unique)} ({human(uses)} before sharing)"
    )


def human(size: int) -> str:
    """``size`` bytes in decimal units, three digits: ``508 MB``."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.2f} {unit}"


def _is_there(path: Path, head: Head, signers: Sequence[Signer]) -> bool:
    """Whether ``path`` is this very bundle already; ``ConfigError`` when it is another one."""
    if not path.exists():
        return False
    try:
        with FileSource(str(path)) as source:
            there = read_head(source)
            if there.id == head.id:
                _verify(source, head, signers, lambda _: None)
                return there == head
    except BundleError:
        if not path.is_file():
            raise
        return False
    raise ConfigError(
        f"{path} is another bundle of the same name and version",
        why=f"its id is {there.id[:12]}, the new one's {head.id[:12]}",
        hint="give the config a new version, or another folder with -o",
    )


def _check_space(output: Path, planned: Composition) -> None:
    layout = Layout(layout_members(planned.head, planned.manifest.files))
    needed = sum(frames.raw_size(frame.size) for frame in layout.frames) + frames.seek_table_size(len(layout.frames))
    free = shutil.disk_usage(output).free
    if free < needed:
        raise StorageError(
            f"not enough space in {output}",
            why=f"needed {human(needed)}, free {human(free)}",
            hint="free some, or name another folder with -o",
        )


def _pack(partial: Partial, planned: Composition, resolved: Sequence[ResolvedImage], ports: BuildPorts) -> str:
    """Write the archive, synced, and return its SHA-256."""
    texts = planned.texts
    sources = _blob_sources(resolved)
    known = {digest: data for image in resolved for digest, data in image.blobs.items()}
    os.ftruncate(partial.fd, 0)
    requests = []
    for file in planned.manifest.files:
        digest = "sha256:" + file.sha256
        if file.link_to is None and file.path not in texts:
            if digest in known:
                texts[file.path] = known[digest]
            else:
                requests.append(BlobRequest(sources[digest], digest, file.size, file.stored == "zstd"))
    total = sum(request.size for request in requests)
    with ArchiveHash() as running, Fetcher(requests, jobs=ports.jobs) as fetcher:
        writer = ArchiveWriter(partial.fd, str(partial.path), running.update)
        for name, data in head_members(planned.head):
            writer.text(name, data)
        blobs = fetcher.blobs()
        for file in planned.manifest.files:
            if file.link_to is not None:
                writer.link(file.path, file.link_to)
            elif file.path in texts:
                writer.text(file.path, texts[file.path])
            else:
                writer.blob(file, next(blobs)[1])
                ports.on_bytes("pack", file.size, total)
        writer.finish()
        os.fsync(partial.fd)
    return running.hexdigest()


def _blob_sources(resolved: Sequence[ResolvedImage]) -> Mapping[str, ImageSource]:
    sources: dict[str, ImageSource] = {}
    for image in resolved:
        blobs: list[Descriptor] = []
        for parsed in image.manifests:
            blobs += [*([parsed.config] if parsed.config else []), *parsed.layers]
        for blob in blobs:
            sources.setdefault(blob.digest, image.source)
    return sources


class ArchiveHash:
    """SHA-256 of the archive as it is written, in a thread of its own: the second core has time for it."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._parts: queue.Queue[Optional[Sequence[frames.Buffer]]] = queue.Queue(maxsize=4)
        self._thread = threading.Thread(target=self._work, name="archive-hash", daemon=True)

    def __enter__(self) -> ArchiveHash:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.put(None)
        self._thread.join()

    def update(self, parts: Sequence[frames.Buffer]) -> None:
        """Hash ``parts`` after all before; they must not change any more."""
        self._parts.put(parts)

    def _work(self) -> None:
        parts = self._parts.get()
        while parts is not None:
            for part in parts:
                self._hash.update(part)
            parts = self._parts.get()

    def hexdigest(self) -> str:
        """The digest, once the context was left."""
        return self._hash.hexdigest()


def _self_verify(partial: Partial, head: Head, signers: Sequence[Signer], ports: BuildPorts) -> None:
    with FileSource(str(partial.path)) as source:
        total = source.size
        complete = _verify(source, head, signers, lambda size: ports.on_bytes("verify", size, total))
    if complete.bundle.head != head:
        raise StorageError(f"{partial.path} was read back with another head", hint="check this disk")


def _verify(source: FileSource, head: Head, signers: Sequence[Signer], on_bytes: Callable[[int], None]) -> Complete:
    """Verify as any loader does; an unsigned bundle is signed by a key that lives only here."""
    public = [signer.public for signer in signers]
    beside = []
    if not public:
        private, pem = new_key_pair()
        throwaway = load_signer(private, label="self-check", where="self-check")
        beside.append(("self-check", throwaway.sign(head.sums)))
        public.append(parse_public_key(pem, "self-check"))
    trust = Trust(TrustPolicy(tuple(public)), CryptographyCheck(), "0001-01-01T00:00:00Z")
    return verify_content(verify_head(source, trust, find_decoder(), beside=beside), on_bytes=on_bytes)


def _sha256_of(path: Path) -> str:
    running = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            running.update(block)
    return running.hexdigest()


def _write_sidecars(path: Path, sha256: str, head: Head, signers: Sequence[Signer]) -> None:
    """Write what stands beside the archive: its checksum, the checksum's signatures, the head."""
    checksum = f"{sha256}  {path.name}\n".encode("ascii")
    beside = {f"{path.name}.sha256": checksum}
    for signer in signers:
        beside[f"{path.name}.sha256.{signer.label}.sig"] = signer.sign(checksum)
    beside[f"{path.name[: -len('.tar.zst')]}.head.tar"] = head_tar(head)
    for name, data in beside.items():
        write_file(path.with_name(name), data)
