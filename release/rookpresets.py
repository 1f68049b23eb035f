"""Make the presets of Rook releases anew from a checkout of rook/rook that has its tags.

``python -m release.rookpresets CHECKOUT [-o FILE]``: every release from v1.4.0 on is read out of the code and the
examples at its tag, as ``git`` has them; nothing is checked out. Without ``-o`` the file in the package is written.
``--check`` compares instead and says what differs.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Optional

DATA = Path(__file__).resolve().parents[1] / "bundler" / "presets" / "rook-default-images.json"
_RELEASE = re.compile(r"v1\.([0-9]+)\.([0-9]+)")
_OLDEST = (4, 0)
# Constants of Go code by the names of the data.
_CONSTANTS: Mapping[str, str] = {
    "cephcsi": "DefaultCSIPluginImage",
    "registrar": "DefaultRegistrarImage",
    "provisioner": "DefaultProvisionerImage",
    "resizer": "DefaultResizerImage",
    "snapshotter": "DefaultSnapshotterImage",
    "attacher": "DefaultAttacherImage",
    "csiaddons": "DefaultCSIAddonsImage",
    "volrep": "DefaultVolumeReplicationImage",
    "nfsplugin": "DefaultNFSPluginImage",
    "cosi_driver": "defaultCephCOSIDriverImage",
    "cosi_sidecar": "defaultCOSISideCarImage",
}
_CODE = ("pkg/operator/ceph/csi/spec.go", "pkg/operator/ceph/object/cosi/spec.go")
# Keys of the ConfigMap that took the place of the constants of CSI in v1.20.
_IMAGE_SET: Mapping[str, str] = {
    "cephcsi": "plugin",
    "registrar": "registrar",
    "provisioner": "provisioner",
    "resizer": "resizer",
    "snapshotter": "snapshotter",
    "attacher": "attacher",
    "csiaddons": "addons",
}
_EXAMPLES = ("deploy/examples", "cluster/examples/kubernetes/ceph")
_ORDER = ("operator", "ceph", "toolbox", *_CONSTANTS, "csi_operator", "kube_rbac_proxy")

ReadFile = Callable[[str], Optional[str]]


def release_images(read: ReadFile) -> dict[str, str]:
    """Return the images of one release; ``read`` gives a file of its tree, None where there is none."""
    code = "\n".join(text for text in map(read, _CODE) if text)
    images = {name: found for name, constant in _CONSTANTS.items() if (found := _constant(code, constant))}
    operator = _example(read, "operator.yaml")
    images.update({name: found for name, key in _IMAGE_SET.items() if (found := _image_set(operator, key))})
    manifests = {
        "operator": (operator, r"rook/ceph"),
        "ceph": (_example(read, "cluster.yaml"), r"ceph/ceph"),
        "toolbox": (_example(read, "toolbox.yaml"), r"ceph/ceph|rook/ceph"),
        "csi_operator": (_example(read, "csi-operator.yaml"), r"cephcsi/ceph-csi-operator"),
        "kube_rbac_proxy": (_example(read, "csi-operator.yaml"), r"kubebuilder/kube-rbac-proxy"),
    }
    images.update({name: found for name, (text, kind) in manifests.items() if (found := _container(text, kind))})
    return {name: images[name] for name in _ORDER if name in images}


def _example(read: ReadFile, name: str) -> str:
    return next((text for folder in _EXAMPLES if (text := read(f"{folder}/{name}"))), "")


def _constant(code: str, name: str) -> Optional[str]:
    match = re.search(rf'\b{name}\s*=\s*"([^"\s]+)"', code)
    return match[1] if match else None


def _image_set(operator: str, key: str) -> Optional[str]:
    _, found, rest = operator.partition("name: rook-csi-operator-image-set-configmap")
    match = re.search(rf'^  {key}: "?([^"\s]+)"?$', rest.partition("\n---")[0], re.MULTILINE) if found else None
    return match[1] if match else None


def _container(text: str, kind: str) -> Optional[str]:
    """Return the first image of this kind that a container runs, with Docker Hub's host where none is written."""
    match = re.search(rf'^ +(?:- )?image: "?((?:[a-z0-9.-]+/)?(?:{kind}):[^"\s]+)"?$', text, re.MULTILINE)
    if match is None:
        return None
    return match[1] if match[1].count("/") > 1 else f"docker.io/{match[1]}"


def releases(tags: Sequence[str]) -> list[str]:
    """Return the tags that are releases we have rules for, oldest first."""
    found = [(tuple(map(int, match.groups())), tag) for tag in tags if (match := _RELEASE.fullmatch(tag))]
    return [tag for number, tag in sorted(found) if number >= _OLDEST]


class Checkout:
    """Files of a git repository at any tag, through one ``git cat-file``."""

    def __init__(self, folder: Path) -> None:
        self._git = ["git", "-C", str(folder)]
        self._files = subprocess.Popen(
            [*self._git, "cat-file", "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> Checkout:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.communicate()

    def tags(self) -> list[str]:
        """Return every tag."""
        return subprocess.run([*self._git, "tag"], check=True, capture_output=True, text=True).stdout.split()

    def read(self, tag: str, path: str) -> Optional[str]:
        """Return a file's text at a tag."""
        wanted, given = self._files.stdin, self._files.stdout
        if wanted is None or given is None:
            raise RuntimeError("git was started without pipes")
        wanted.write(f"{tag}:{path}\n".encode())
        wanted.flush()
        head = given.readline().split()
        if len(head) != 3 or head[1] != b"blob":
            return None
        return given.read(int(head[2]) + 1)[:-1].decode("utf-8", "replace")


def main(arguments: Sequence[str]) -> int:
    """Write or compare the data; 1 where a comparison finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m release.rookpresets", description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=DATA)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    with Checkout(options.checkout) as checkout:
        made = {tag: release_images(partial(checkout.read, tag)) for tag in releases(checkout.tags())}
    known = json.loads(DATA.read_text(encoding="utf-8"))
    if options.check:
        lines = list(differences(known["releases"], made))
        print("\n".join(lines) or f"the same for {len(made)} releases")  # noqa: T201 - the result
        return 1 if lines else 0
    options.output.write_text(written(known, made), encoding="utf-8")
    print(f"{options.output}: {len(made)} releases")  # noqa: T201 - the result
    return 0


def written(known: Mapping[str, object], made: Mapping[str, Mapping[str, str]]) -> str:
    """Return the file's text: what it says of itself, then a release a line."""
    head = json.dumps({key: value for key, value in known.items() if key != "releases"}, indent=1)
    rows = ",\n".join(f"  {json.dumps(tag)}: {json.dumps(images)}" for tag, images in made.items())
    return head.removesuffix("\n}") + ',\n "releases": {\n' + rows + "\n }\n}\n"


def differences(old: Mapping[str, Mapping[str, str]], new: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return a line for each image that one of the two has and the other has not, or has otherwise."""
    return [
        f"{tag} {name}: {old.get(tag, {}).get(name)} -> {new.get(tag, {}).get(name)}"
        for tag in sorted({*old, *new})
        for name in _ORDER
        if old.get(tag, {}).get(name) != new.get(tag, {}).get(name)
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
