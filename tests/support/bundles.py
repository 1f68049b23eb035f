"""Small signed bundles for tests: honest ones, and ones with any part changed before or after signing.

A ``Recipe`` is a bundle before it is bytes. ``recipe.change(sequence=1)`` signs again: an attacker who holds a
trusted key. Changing the pieces, the frames or the archive itself keeps the signature: one who does not.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import zstandard
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from bundler.fetch import libzstd_version
from bundler.pack import PackedImage, directory_name, plan_files
from loader.bundle import frames, tarlayout
from loader.bundle import manifest as m
from loader.bundle.digest import sha256_hex
from loader.bundle.frames import FrameDecoder
from loader.bundle.graph import VERSION_FILE
from loader.bundle.head import Head, signature_name
from loader.bundle.keys import SignatureCheck
from loader.bundle.limits import BIG_MEMBER, FRAME
from loader.bundle.ocimanifest import parse_manifest
from loader.bundle.pieces import Tie
from loader.bundle.policy import TrustPolicy
from loader.bundle.sums import render_sums
from loader.bundle.verify import Complete, Trust, VerifiedBundle, verify_content, verify_head
from loader.signing import CryptographyCheck, Signer, load_signer
from loader.zstd import find_decoder
from tests.support.images import MadeImage, make_image, make_layer

NOW = "2026-01-01T00:00:00Z"
ARCHIVE = "demo-1.tar.zst"
REGISTRY = "registry.example:5000"


@functools.cache
def make_signer(name: str, curve: str = "P-256") -> Signer:
    """The signer ``name``: always the same key on ``curve``, or a new one for ``RSA``."""
    private: Any
    if curve == "RSA":
        private = rsa.generate_private_key(65537, 3072)
    else:
        secret = int.from_bytes(hashlib.sha256(name.encode()).digest(), "big") >> 1
        private = ec.derive_private_key(secret, {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1}[curve]())
    return load_signer(private_pem(private), label=name, where=name)


def private_pem(private: Any) -> bytes:
    pem: bytes = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem


def public_pem(public: Any) -> bytes:
    pem: bytes = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem


@dataclass(frozen=True)
class Piece:
    """One member as it stands in the tar stream."""

    path: str
    header: bytes
    content: bytes
    padding: bytes
    stored: str = "raw"


@dataclass(frozen=True)
class LaidFrame:
    """One frame as it stands in the archive, and the content it declares."""

    stored: bytes
    content: bytes


@dataclass(frozen=True)
class Recipe:
    """A bundle in parts; ``sums``, ``json`` and ``signatures`` replace what follows from the manifest."""

    manifest: m.BundleManifest
    contents: dict[str, bytes]
    signers: tuple[Signer, ...]
    json: bytes | None = None
    sums: bytes | None = None
    signatures: tuple[tuple[str, bytes], ...] | None = None

    def change(self, **fields: Any) -> Recipe:
        """The same with other manifest fields; ``payload_size`` follows the files unless given."""
        manifest = replace(self.manifest, **fields)
        if "payload_size" not in fields:
            manifest = replace(manifest, payload_size=tarlayout.payload_size(manifest.files))
        return replace(self, manifest=manifest)

    def edit_file(self, path: str, **fields: Any) -> Recipe:
        """The same with one entry of ``files[]`` changed."""
        return self.change(files=tuple(replace(f, **fields) if f.path == path else f for f in self.manifest.files))

    def put(self, path: str, data: bytes) -> Recipe:
        """The same with other content at ``path``, listed as it is."""
        changed = replace(self, contents={**self.contents, path: data})
        if path in {file.path for file in self.manifest.files}:
            return changed.edit_file(path, size=len(data), sha256=sha256_hex(data))
        entry = m.File(path, len(data), sha256_hex(data), "raw", None)
        return changed.change(files=(*self.manifest.files, entry))

    def drop(self, path: str) -> Recipe:
        """The same without the member at ``path``."""
        return self.change(files=tuple(file for file in self.manifest.files if file.path != path))

    @property
    def head(self) -> Head:
        data = m.encode(self.manifest) if self.json is None else self.json
        sums = render_sums(self.manifest.files, sha256_hex(data)) if self.sums is None else self.sums
        signatures = self.signatures
        if signatures is None:
            signatures = tuple(sorted((signer.label, signer.sign(sums)) for signer in self.signers))
        return Head(sums, signatures, data)

    def pieces(self) -> list[Piece]:
        head = self.head
        named = [("SHA256SUMS", head.sums)]
        named += [(signature_name(label), data) for label, data in head.signatures]
        named.append(("bundle.json", head.manifest))
        found = [make_piece(path, data) for path, data in named]
        for file in self.manifest.files:
            if file.link_to is not None:
                found.append(make_piece(file.path, b"", link_to=file.link_to))
            else:
                found.append(make_piece(file.path, self.contents[file.path], stored=file.stored or "raw"))
        return found

    def archive(self) -> bytes:
        return join_frames(lay_frames(self.pieces()))


def make_piece(path: str, content: bytes, *, stored: str = "raw", link_to: str | None = None) -> Piece:
    """A piece as the format wants it."""
    size = len(content)
    return Piece(path, tarlayout.header(path, size, link_to), content, bytes(-size % 512), stored)


def lay_frames(
    pieces: Sequence[Piece], end: bytes = bytes(1024), compress: Callable[[bytes], bytes] | None = None
) -> list[LaidFrame]:
    """Cut the tar stream of ``pieces`` into frames as the format does."""
    laid: list[LaidFrame] = []
    glue = bytearray()

    def cut(data: bytes, stored: str) -> None:
        for start in range(0, len(data), FRAME):
            part = data[start : start + FRAME]
            frame = b"".join(frames.raw_frame(part)) if stored == "raw" else (compress or zstd_frame)(part)
            laid.append(LaidFrame(frame, part))

    for piece in pieces:
        glue += piece.header
        if len(piece.content) >= BIG_MEMBER:
            cut(bytes(glue), "raw")
            glue.clear()
            cut(piece.content, piece.stored)
        else:
            glue += piece.content
        glue += piece.padding
    cut(bytes(glue) + end, "raw")
    return laid


def zstd_frame(content: bytes, *, checksum: bool = True, content_size: bool = True) -> bytes:
    """A frame of the allowed form, unless asked for another."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        3, window_log=22, write_checksum=checksum, write_content_size=content_size
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(content)


def join_frames(laid: Sequence[LaidFrame]) -> bytes:
    """The archive: all frames and their seek table."""
    table = frames.seek_table([(len(frame.stored), len(frame.content)) for frame in laid])
    return b"".join([*(frame.stored for frame in laid), table])


def make_recipe(
    images: Sequence[MadeImage] = (),
    *,
    documents: dict[str, bytes] | None = None,
    signers: Sequence[Signer] = (),
    signatures: dict[str, bytes] | None = None,
    **fields: Any,
) -> Recipe:
    """A bundle of ``images``, signed by ``builder`` if not told otherwise; ``signatures`` stand in each directory."""
    entries, packed = [], []
    for index, image in enumerate(images):
        directory = directory_name(index, f"apps/app{index}")
        entries.append(_entry(image, f"apps/app{index}", directory))
        packed.append(pack_image(image, directory, signatures or {}))
    documents = documents or {}
    files = plan_files(documents, packed)
    contents = dict(documents)
    for image, one in zip(images, packed):
        contents.update({f"{one.directory}/{name}": data for name, data in one.texts.items()})
        contents.update({f"{one.directory}/{digest[7:]}": data for digest, data in image.blobs.items()})
    manifest = m.BundleManifest(
        format_version=1,
        name="demo",
        version="1",
        sequence=7,
        created="2025-12-01T00:00:00Z",
        not_after=None,
        builder=m.Builder("airgap-bundler test", libzstd_version()),
        complete=True,
        base=None,
        registry=REGISTRY,
        images=tuple(entries),
        attachments=(),
        mirrors=(),
        documents=tuple(make_document(path) for path in documents),
        files=files,
        requires=(),
        payload_size=tarlayout.payload_size(files),
    )
    return Recipe(manifest, contents, tuple(signers) or (make_signer("builder"),)).change(**fields)


def make_document(path: str, **fields: Any) -> m.Document:
    """An entry of ``documents[]`` that is applied as it is."""
    return replace(m.Document(path, "before-rook", "apply", None, None, m.When(None, None), "skip"), **fields)


def _entry(image: MadeImage, repository: str, directory: str) -> m.Image:
    return m.Image(
        source=f"docker.io/{repository}",
        tag="v1",
        digest=image.digest,
        media_type=image.media_type,
        platforms=(),
        path=directory,
        repository=repository,
        omitted=(),
        rewritten=None,
    )


def pack_image(image: MadeImage, directory: str, signatures: dict[str, bytes]) -> PackedImage:
    parsed = [parse_manifest(data, digest) for digest, _, data in image.manifests]
    texts = {"version": VERSION_FILE, "manifest.json": image.data, **signatures}
    texts.update({f"{digest[7:]}.manifest.json": data for digest, _, data in image.manifests[:-1]})
    configs = tuple(one.config for one in parsed if one.config)
    return PackedImage(directory, texts, configs, tuple(layer for one in parsed for layer in one.layers))


@functools.cache
def tiny_recipe() -> Recipe:
    """One image for one platform; nothing in it fills a frame of its own, so the archive is one frame."""
    return make_recipe([make_image(platforms=["linux/amd64"])])


@functools.cache
def full_recipe() -> Recipe:
    """Every kind of member: document, signature, index, hard links, a raw and a zstd layer of two frames each."""
    shared = make_layer("shared", 2000)
    raw = make_layer("raw", FRAME + 70_000)
    plain = b"".join(b"line %d of a layer that was never compressed\n" % number for number in range(100_000))
    return make_recipe(
        [
            make_image(layers=[shared, raw], name="one"),
            make_image(layers=[shared, raw, plain], name="two", platforms=["linux/amd64"], oci_types=True),
        ],
        documents={"documents/before-rook/common.json": b'{"kind": "List"}\n'},
        signatures={"signature-1": b"a simple signature"},
        signers=[make_signer("approver"), make_signer("builder")],
    )


class MemorySource:
    """An archive in memory; ``on_read`` sees every read before it is answered."""

    def __init__(self, data: bytes, name: str = ARCHIVE, on_read: Callable[[int, int], None] | None = None) -> None:
        self.data = data
        self.size = len(data)
        self.name = name
        self._on_read = on_read

    def read_into(self, offset: int, view: memoryview) -> int:
        if self._on_read is not None:
            self._on_read(offset, len(view))
        part = self.data[offset : offset + len(view)]
        view[: len(part)] = part
        return len(part)


def make_policy(*signers: Signer, **fields: Any) -> TrustPolicy:
    """A policy that trusts ``signers``, by default the builder alone."""
    return TrustPolicy(tuple(signer.public for signer in signers or (make_signer("builder"),)), **fields)


def make_trust(policy: TrustPolicy | None = None, check: SignatureCheck | None = None, now: str = NOW) -> Trust:
    return Trust(policy or make_policy(), check or CryptographyCheck(), now)


def open_head(
    data: bytes | MemorySource,
    trust: Trust | None = None,
    *,
    beside: Sequence[tuple[str, bytes]] = (),
    decoder: FrameDecoder | None = None,
    tie: Tie | None = None,
) -> VerifiedBundle:
    """Do steps 1 to 5."""
    source = data if isinstance(data, MemorySource) else MemorySource(data)
    return verify_head(source, trust or make_trust(), decoder or find_decoder(), beside=beside, tie=tie)


def verify(
    data: bytes | MemorySource,
    trust: Trust | None = None,
    *,
    beside: Sequence[tuple[str, bytes]] = (),
    decoder: FrameDecoder | None = None,
    tie: Tie | None = None,
) -> Complete:
    """Do all steps."""
    return verify_content(open_head(data, trust, beside=beside, decoder=decoder, tie=tie))
