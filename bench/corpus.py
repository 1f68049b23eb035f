"""The test images: the same bytes on every machine, as skopeo ``dir:`` layouts that share blobs by hard link.

Factor 1 is about 1.1 GB in ``dir:`` form, half of it unique: one base layer per platform under every image,
layers of noise (gzip of what does not compress), of packed text, and two images with uncompressed layers.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

VERSION = 1
MB = 10**6
DOCKER = "application/vnd.docker."
OCI = "application/vnd.oci.image."
_VERSION_TEXT = b"Directory Transport Version: 1.1\n"
_PIECE = 2**20
_PLATFORMS = ("linux/amd64", "linux/arm64")


@dataclass(frozen=True)
class LayerPlan:
    """``kind``: noise (gzip, incompressible), text (gzip) or plain (uncompressed text); ``size`` of the tar."""

    seed: str
    kind: str
    size: int


@dataclass(frozen=True)
class ImagePlan:
    """One image: its platforms, whether an index stands around them, Docker's or OCI's types, uncompressed layers."""

    name: str
    platforms: tuple[str, ...] = _PLATFORMS
    indexed: bool = True
    oci: bool = False
    plain: bool = False

    def layers(self, platform: str, scale: float) -> list[LayerPlan]:
        """The layers of one platform, base first; ``scale`` multiplies their sizes."""
        own = f"{self.name}-{platform}"
        layers = [
            LayerPlan(f"base-{platform}", "noise", int(40 * MB * scale)),
            LayerPlan(f"{own}-noise", "noise", int(15 * MB * scale)),
            LayerPlan(f"{own}-text", "text", int(10 * MB * scale)),
            LayerPlan(f"{own}-small", "text", 200_000),
        ]
        if self.plain:
            layers.append(LayerPlan(f"{own}-plain", "plain", int(20 * MB * scale)))
        return layers


IMAGES = (
    ImagePlan("app-0", plain=True),
    ImagePlan("app-1"),
    ImagePlan("app-2"),
    ImagePlan("app-3", oci=True, plain=True),
    ImagePlan("app-4"),
    ImagePlan("app-5", oci=True),
    ImagePlan("app-6", platforms=(*_PLATFORMS, "linux/s390x")),
    ImagePlan("app-7", platforms=("linux/amd64",), indexed=False),
)


@dataclass(frozen=True)
class Blob:
    """A blob's file in the corpus; ``diff_id`` is the digest of the tar in it."""

    digest: str
    size: int
    path: Path
    diff_id: str


@dataclass(frozen=True)
class Corpus:
    """The layouts by image name, and every blob once."""

    folder: Path
    layouts: dict[str, Path]
    blobs: tuple[Path, ...]

    @property
    def unique(self) -> int:
        """Bytes of all blobs, each once."""
        return sum(path.stat().st_size for path in self.blobs)

    @property
    def total(self) -> int:
        """Bytes of all layouts as skopeo writes them, shared layers repeated."""
        return sum(path.stat().st_size for layout in self.layouts.values() for path in layout.iterdir())


def make_corpus(cache: Path, *, factor: int, quick: bool) -> Corpus:
    """Return the corpus from ``cache``, made there first if it is not: about half a minute for each factor."""
    name = f"v{VERSION}-quick" if quick else f"v{VERSION}-x{factor}"
    folder = cache / name
    if not folder.is_dir():
        partial = cache / f".{name}.part"
        shutil.rmtree(partial, ignore_errors=True)
        (partial / "blobs").mkdir(parents=True)
        scale = 0.02 if quick else float(factor)
        made: dict[LayerPlan, Blob] = {}
        for image in IMAGES[3:] if quick else IMAGES:
            _write_layout(partial, image, scale, made)
        partial.replace(folder)
    layouts = {path.name: path for path in sorted((folder / "dirs").iterdir())}
    return Corpus(folder, layouts, tuple(sorted((folder / "blobs").iterdir())))


def _write_layout(folder: Path, image: ImagePlan, scale: float, made: dict[LayerPlan, Blob]) -> None:
    layout = folder / "dirs" / image.name
    layout.mkdir(parents=True)
    manifests = []
    for platform in image.platforms:
        layers = [(plan, _made(folder, plan, made)) for plan in image.layers(platform, scale)]
        config = _store(folder, _config(platform, [blob for _, blob in layers]))
        for blob in (config, *(blob for _, blob in layers)):
            target = layout / blob.digest[7:]
            if not target.exists():
                os.link(blob.path, target)
        manifests.append((platform, _manifest(image, config, layers)))
    top = manifests[0][1]
    if image.indexed:
        for _, data in manifests:
            (layout / f"{hashlib.sha256(data).hexdigest()}.manifest.json").write_bytes(data)
        top = _index(image, manifests)
    (layout / "version").write_bytes(_VERSION_TEXT)
    (layout / "manifest.json").write_bytes(top)


def _made(folder: Path, plan: LayerPlan, made: dict[LayerPlan, Blob]) -> Blob:
    if plan not in made:
        made[plan] = _layer(folder, plan)
    return made[plan]


class _Tee:
    """A file that is hashed as it is written."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.running = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.running.update(data)
        return self._stream.write(data)

    def flush(self) -> None:
        self._stream.flush()


def _layer(folder: Path, plan: LayerPlan) -> Blob:
    partial = folder / "blobs" / ".part"
    with partial.open("wb") as out:
        outer = _Tee(out)
        if plan.kind == "plain":
            diff_id = _write_tar(outer, plan)
        else:
            # Level 0 stores: noise stays what it is and costs nothing, as layers of packed files do.
            level = 0 if plan.kind == "noise" else 6
            stream = cast("IO[bytes]", outer)
            with gzip.GzipFile("", "wb", compresslevel=level, fileobj=stream, mtime=0) as packed:
                diff_id = _write_tar(_Tee(cast("IO[bytes]", packed)), plan)
    hexes = outer.running.hexdigest()
    path = partial.with_name(hexes)
    partial.replace(path)
    return Blob(f"sha256:{hexes}", path.stat().st_size, path, diff_id)


def _write_tar(out: _Tee, plan: LayerPlan) -> str:
    pieces = _noise(plan) if plan.kind == "noise" else _text(plan)
    stream = cast("IO[bytes]", out)
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT, bufsize=_PIECE) as tar:
        for number, piece in enumerate(pieces):
            entry = tarfile.TarInfo(f"opt/{plan.kind}/{number:05d}")
            entry.size = len(piece)
            tar.addfile(entry, io.BytesIO(piece))
    return f"sha256:{out.running.hexdigest()}"


def _noise(plan: LayerPlan) -> Iterator[bytes]:
    source = random.Random(plan.seed)
    for start in range(0, plan.size, _PIECE):
        yield source.randbytes(min(_PIECE, plan.size - start))


def _text(plan: LayerPlan) -> Iterator[bytes]:
    """Lines of a small stock with a number after each: shrinks to about a quarter, as a tree of programs does."""
    stock = [f"{random.Random(f'stock {n}').randbytes(32).hex()} ".encode() for n in range(4096)]
    source = random.Random(plan.seed)
    for start in range(0, plan.size, _PIECE):
        wanted = min(_PIECE, plan.size - start)
        lines = source.choices(stock, k=wanted // 89 + 1)
        numbers = source.randbytes(12 * len(lines)).hex().encode()
        yield b"".join(line + numbers[24 * n : 24 * n + 24] + b"\n" for n, line in enumerate(lines))[:wanted]


def _config(platform: str, layers: list[Blob]) -> bytes:
    system, _, architecture = platform.partition("/")
    return json.dumps(
        {
            "architecture": architecture,
            "os": system,
            "created": "2020-10-01T00:00:00Z",
            "config": {"Cmd": ["/opt/program"]},
            "history": [{"created": "2020-10-01T00:00:00Z", "created_by": "bench"} for _ in layers],
            "rootfs": {"type": "layers", "diff_ids": [blob.diff_id for blob in layers]},
        }
    ).encode()


def _store(folder: Path, data: bytes) -> Blob:
    hexes = hashlib.sha256(data).hexdigest()
    path = folder / "blobs" / hexes
    path.write_bytes(data)
    return Blob(f"sha256:{hexes}", len(data), path, "")


def _manifest(image: ImagePlan, config: Blob, layers: list[tuple[LayerPlan, Blob]]) -> bytes:
    packed, plain, config_type, own = (
        (f"{OCI}layer.v1.tar+gzip", f"{OCI}layer.v1.tar", f"{OCI}config.v1+json", f"{OCI}manifest.v1+json")
        if image.oci
        else (
            f"{DOCKER}image.rootfs.diff.tar.gzip",
            f"{DOCKER}image.rootfs.diff.tar",
            f"{DOCKER}container.image.v1+json",
            f"{DOCKER}distribution.manifest.v2+json",
        )
    )
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": own,
            "config": _descriptor(config_type, config.digest, config.size),
            "layers": [
                _descriptor(plain if plan.kind == "plain" else packed, blob.digest, blob.size) for plan, blob in layers
            ],
        }
    )


def _index(image: ImagePlan, manifests: list[tuple[str, bytes]]) -> bytes:
    own, child = (
        (f"{OCI}index.v1+json", f"{OCI}manifest.v1+json")
        if image.oci
        else (f"{DOCKER}distribution.manifest.list.v2+json", f"{DOCKER}distribution.manifest.v2+json")
    )
    entries = []
    for platform, data in manifests:
        system, _, architecture = platform.partition("/")
        entry = _descriptor(child, f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))
        entries.append({**entry, "platform": {"architecture": architecture, "os": system}})
    return _json({"schemaVersion": 2, "mediaType": own, "manifests": entries})


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, object]:
    return {"mediaType": media_type, "size": size, "digest": digest}


def _json(value: object) -> bytes:
    return json.dumps(value, indent=3).encode()
