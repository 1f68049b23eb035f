"""What follows from a signed head: the manifest (step 4), the archive that it predicts, its graph (step 4b)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from loader.bundle import frames
from loader.bundle import manifest as manifests
from loader.bundle.archive import Archive, ByteSource
from loader.bundle.digest import sha256_hex
from loader.bundle.errors import FormatError, TrustError
from loader.bundle.frames import FrameDecoder
from loader.bundle.graph import ImageGraph, check_graph
from loader.bundle.head import Head
from loader.bundle.limits import BIG_MEMBER, MAX_MANIFEST
from loader.bundle.manifest import BundleManifest, File
from loader.bundle.pieces import Tie
from loader.bundle.rules import check_manifest
from loader.bundle.sums import is_sums, manifest_line
from loader.bundle.tarlayout import Layout, Member, payload_size


def decode_manifest(head: Head) -> tuple[BundleManifest, Mapping[str, File]]:
    """Step 4: ``bundle.json`` is in the signed list; decode it strictly, and require that it and the list agree.

    The hash comes first: a manifest that nobody signed is not even parsed.
    """
    sha256 = sha256_hex(head.manifest)
    if manifest_line(sha256) not in head.sums:
        raise TrustError("bundle.json is not the one that was signed", why=f"SHA256SUMS does not list {sha256}")
    manifest = manifests.decode(head.manifest)
    files = check_manifest(manifest)
    if not is_sums(head.sums, manifest.files, sha256):
        raise FormatError("SHA256SUMS and bundle.json disagree", why="the list made from bundle.json is another one")
    payload = payload_size(manifest.files)
    if payload != manifest.payload_size:
        raise FormatError("bundle.json payloadSize is wrong", why=f"{manifest.payload_size}; its files give {payload}")
    return manifest, files


def open_archive(
    source: ByteSource,
    head: Head,
    manifest: BundleManifest,
    decoder: FrameDecoder,
    *,
    told: Optional[dict[int, int]] = None,
    tie: Optional[Tie] = None,
) -> Archive:
    """Predict the layout from the manifest and require the seek table and length that follow from it."""
    _check_length(source, manifest)
    members = [member for member, _ in head.members]
    members += [Member(file.path, file.size, file.stored or "raw", file.link_to) for file in manifest.files]
    layout = Layout(members)
    expected = [sha256 for _, sha256 in head.members] + [file.sha256 for file in manifest.files]
    return Archive(source, layout, expected, decoder, told=told, tie=tie)


def _check_length(source: ByteSource, manifest: BundleManifest) -> None:
    """Require that ``source`` could hold what the manifest claims, before memory is spent on a table of it."""
    claimed = sum(frames.least_stored(file.size, file.stored) for file in manifest.files)
    if claimed > source.size:
        raise FormatError(
            f"{source.name} is too short for what it claims",
            why=f"{source.size} bytes; its files need at least {claimed}",
        )


def walk_graph(archive: Archive, manifest: BundleManifest, files: Mapping[str, File]) -> Mapping[str, ImageGraph]:
    """Step 4b: follow every reference, reading manifests out of the archive."""
    first = len(archive.layout.members) - len(manifest.files)
    # Only manifests and versions are read, not the many blobs, which are named by their hash.
    texts = ((number, file) for number, file in enumerate(manifest.files) if not file.path.endswith(file.sha256))
    index = {file.path: first + number for number, file in texts}

    def read(path: str) -> bytes:
        file = files[path]
        if file.size > MAX_MANIFEST or file.link_to is not None:
            raise FormatError(f"{path} is not a small file", why="manifests are at most 4 MiB and never links")
        if file.size < BIG_MEMBER:
            return archive.read_small(index[path])
        return b"".join(bytes(block) for block in archive.content(index[path]))

    return check_graph(manifest, files, read)
