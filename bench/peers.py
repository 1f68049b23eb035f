"""Other tools' ways with the same images, for those that are on PATH: their own command lines, from end to end.

Each ``build`` leaves its archive in the folder ``output``, each ``load`` starts from it with no cache of its own.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Lines = Callable[[Path, str], "list[str]"]


@dataclass(frozen=True)
class Peer:
    """``files`` gives the tool's own config by name, ``build`` and ``load`` the shell lines (output, target registry).

    ``files`` gets the digest of each image by its name. ``note``: what it brings less than ours.
    """

    name: str
    files: Callable[[Mapping[str, str]], Mapping[str, str]]
    build: Lines
    load: Lines
    note: str = ""


def found() -> list[Peer]:
    """The peers on PATH, in a fixed order."""
    return [peer for peer in PEERS if shutil.which(peer.name)]


def archive_size(output: Path) -> int:
    """Bytes of the largest file in ``output``: the archive."""
    return max((path.stat().st_size for path in output.rglob("*") if path.is_file()), default=0)


def _hauler_files(images: Mapping[str, str]) -> Mapping[str, str]:
    manifest = {
        "apiVersion": "content.hauler.cattle.io/v1",
        "kind": "Images",
        "metadata": {"name": "bench"},
        "spec": {"images": [{"name": image} for image in images]},
    }
    return {"hauler.yaml": json.dumps(manifest)}


def _hauler_build(output: Path, _: str) -> list[str]:
    archive = shlex.quote(str(output / "haul.tar.zst"))
    return [
        "hauler store sync --store store --filename hauler.yaml --exclude-extras",
        f"hauler store save --store store --filename {archive}",
    ]


def _hauler_load(output: Path, target: str) -> list[str]:
    archive = shlex.quote(str(output / "haul.tar.zst"))
    return [
        f"hauler store load --store store --filename {archive}",
        f"hauler store copy --store store --plain-http registry://{target}",
    ]


def _zarf_files(images: Mapping[str, str]) -> Mapping[str, str]:
    # Of an image named by its tag it takes one platform; named by the digest of its index it takes them all.
    pinned = [f"{name}@{digest}" for name, digest in images.items()]
    package = {
        "kind": "ZarfPackageConfig",
        "metadata": {"name": "bench", "version": "1", "architecture": "amd64"},
        "components": [{"name": "images", "required": True, "images": pinned}],
    }
    return {"zarf.yaml": json.dumps(package)}


def _zarf_build(output: Path, _: str) -> list[str]:
    options = "--confirm --skip-sbom --plain-http --no-color"
    return [f"zarf package create . --output {shlex.quote(str(output))} {options}"]


def _zarf_load(output: Path, target: str) -> list[str]:
    package = shlex.quote(str(output / "zarf-package-bench-amd64-1.tar.zst"))
    # It takes no registry without a login; this one does not ask.
    login = "--registry-push-username bench --registry-push-password bench"
    # Without --no-img-checksum it pushes each image once more, under a tag for its own agent.
    options = f"--images --no-img-checksum --registry-url {target} {login} --confirm --plain-http --no-color"
    return [f"zarf package mirror-resources {package} {options}"]


def _mirror_files(images: Mapping[str, str]) -> Mapping[str, str]:
    config = {
        "kind": "ImageSetConfiguration",
        "apiVersion": "mirror.openshift.io/v2alpha1",
        "mirror": {"additionalImages": [{"name": image} for image in images]},
    }
    return {"isc.yaml": json.dumps(config)}


def _mirror_build(output: Path, _: str) -> list[str]:
    where = shlex.quote(f"file://{output}")
    return [f"oc-mirror --v2 -c isc.yaml --cache-dir cache --src-tls-verify=false {where}"]


def _mirror_load(output: Path, target: str) -> list[str]:
    # It writes into the folder it reads from, so it gets one of its own that shares the archive.
    return [
        f"cp -al {shlex.quote(str(output))} from",
        f'oc-mirror --v2 -c isc.yaml --cache-dir cache --dest-tls-verify=false --from "file://$PWD/from" docker://{target}',
    ]


PEERS = (
    Peer("hauler", _hauler_files, _hauler_build, _hauler_load),
    Peer("zarf", _zarf_files, _zarf_build, _zarf_load, "images without tags"),
    Peer("oc-mirror", _mirror_files, _mirror_build, _mirror_load),
)
