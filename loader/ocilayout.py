"""Images as an OCI image layout: a folder, or one tar file that containerd, k3s and podman import.

Sources: image spec 1.1, "OCI Image Layout"; containerd's ``import.go`` for what names an image there.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from loader.alone import alone_in, is_at
from loader.bundle.errors import StorageError
from loader.bundle.ocimanifest import OCI_INDEX, parse_manifest
from loader.bundle.tarlayout import END, header, padding
from loader.bundle.verify import VerifiedBundle
from loader.extract import Extracting, told, total_blobs, write_new
from loader.picked import Picked

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_CONTAINERD_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"

Blocks = AbstractContextManager[Iterator[memoryview]]


class _Member(NamedTuple):
    path: str
    size: int
    blocks: Blocks


def index(bundle: VerifiedBundle, picked: Sequence[Picked]) -> bytes:
    """Return ``index.json``: an entry for each name of each image.

    One image alone is there under one name, its tag's: podman and skopeo take a layout without being told a name only
    if it has one entry. With several they have to be told, and each is there by digest too, as kubelets ask for it.
    """
    entries = []
    for one in picked:
        size = bundle.files[one.top.path].size
        for name in one.names if len(picked) > 1 else one.names[:1]:
            entry: dict[str, Any] = {"mediaType": one.top.media_type, "digest": one.top.digest, "size": size}
            if one.platform is not None:
                entry["platform"] = _platform(one.platform)
            entries.append({**entry, "annotations": {_CONTAINERD_NAME: name, _REF_NAME: name}})
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}, indent=2).encode()


def docker_manifest(bundle: VerifiedBundle, picked: Sequence[Picked]) -> bytes:
    """Return ``manifest.json`` of a ``docker save``, empty where one of the images is an index or lacks a layer.

    For ``docker load``, and for ``podman load`` of several images: what they find there has tags, but not its digest.
    """
    entries = []
    for one in picked:
        parsed = parse_manifest(bundle.read(one.top.path), one.top.path, one.top.media_type)
        if parsed.config is None or len(parsed.blobs) != len(one.top.blobs):
            return b""
        layers = [_place(layer.digest) for layer in parsed.layers]
        tags = [name for name in one.names if "@" not in name]
        entries.append({"Config": _place(parsed.config.digest), "RepoTags": tags, "Layers": layers})
    return json.dumps(entries, indent=2).encode()


def _platform(text: str) -> dict[str, str]:
    system, architecture, *variant = text.split("/")
    return {"architecture": architecture, "os": system, **({"variant": variant[0]} if variant else {})}


def write_layout(work: Extracting, picked: Sequence[Picked], output: Path) -> Path:
    """Write one layout with all images to ``output``, which must not exist or be an empty folder."""
    final = output.absolute()  # "." has no name
    if final.exists() and final.samefile(Path.cwd()):
        raise _exists(output, "it is the folder you are in, and a layout is put in place as a whole")
    with _partial(final) as partial:
        with told(output):
            if output.is_symlink() or (output.exists() and (not output.is_dir() or any(output.iterdir()))):
                raise _exists(output, "it is not an empty folder")
        work.require(picked, output)
        with told(output):
            (partial / "blobs/sha256").mkdir(parents=True)
        for member in _members(work, picked):
            with member.blocks as blocks:
                write_new(partial / member.path, blocks, work.on_bytes)
        with told(output):
            partial.replace(final)
    return output


def write_archive(work: Extracting, picked: Sequence[Picked], target: Path) -> Path:
    """Write one layout with all images as a tar file to ``target``, which must not exist."""
    with _partial(target) as partial:
        with told(target):
            if target.exists() or target.is_symlink():
                raise _exists(target, "an archive is written whole, under a new name")
        work.require(picked, target.parent)
        write_new(partial / target.name, _tar(work, picked), _ignore)
        with told(target):
            (partial / target.name).replace(target)
    return target


def _exists(path: Path, why: str) -> StorageError:
    return StorageError(
        f"{path} exists already", why=why, hint="nothing is overwritten: remove it, or name another with -o"
    )


@contextlib.contextmanager
def _partial(final: Path) -> Iterator[Path]:
    """Give a hidden folder beside ``final``, for this run alone; nothing of it is left, nor of an earlier run."""
    final = final.absolute()  # "." has no name to hide another one behind
    partial = final.with_name(f".{final.name}.part")
    with alone_in(partial, hidden=True) as descriptor:
        _clear(partial)
        try:
            yield partial
        finally:
            # Where it got its final name, another run may have this one by now.
            if is_at(descriptor, partial):
                _clear(partial)
                partial.rmdir()


def _clear(partial: Path) -> None:
    with told(partial):
        for entry in partial.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def _members(work: Extracting, picked: Sequence[Picked]) -> Iterator[_Member]:
    """Yield everything of a layout: what names the images, the manifests, the blobs in the order they stand."""
    bundle = work.complete.bundle
    names = index(bundle, picked)
    yield _Member("oci-layout", len(_LAYOUT), _of(_LAYOUT))
    yield _Member("index.json", len(names), _of(names))
    for_docker = docker_manifest(bundle, picked)
    if for_docker:
        yield _Member("manifest.json", len(for_docker), _of(for_docker))
    nodes = {node.digest: node for one in picked for node in one.nodes}
    for digest, node in nodes.items():
        data = bundle.read(node.path)
        yield _Member(_place(digest), len(data), _of(data))
    blobs = total_blobs(picked)
    for digest in sorted(blobs.keys() - nodes.keys(), key=work.bodies.place):
        yield _Member(_place(digest), blobs[digest], work.bodies.open(digest))


def _place(digest: str) -> str:
    return f"blobs/sha256/{digest[7:]}"


def _of(data: bytes) -> Blocks:
    return contextlib.nullcontext(iter([memoryview(data)]))


def _tar(work: Extracting, picked: Sequence[Picked]) -> Iterator[memoryview]:
    """The layout as a tar stream of the bundle's own kind: the same images give the same bytes."""
    for member in _members(work, picked):
        yield memoryview(header(member.path, member.size))
        with member.blocks as blocks:
            for block in blocks:
                work.on_bytes(len(block))
                yield block
        yield memoryview(bytes(padding(member.size)))
    yield memoryview(END)


def _ignore(_: int) -> None:
    return
