"""The article's eight images and its config, as small multi-arch images in a registry of our own."""

from __future__ import annotations

from pathlib import Path

from tests.support.blobstore import BlobStore
from tests.support.cli import Cli
from tests.support.images import MadeImage, make_image, make_layer

REGISTRY = "airgap-45-lb.airgap-ocp45.ibmcloud.io.cpak:5000"
IMAGES = (
    "docker.io/ceph/ceph:v15.2.4",
    "docker.io/rook/ceph:master",
    "quay.io/cephcsi/cephcsi:v3.1.1",
    "k8s.gcr.io/sig-storage/csi-node-driver-registrar:v2.0.1",
    "k8s.gcr.io/sig-storage/csi-resizer:v1.0.0",
    "k8s.gcr.io/sig-storage/csi-provisioner:v2.0.0",
    "k8s.gcr.io/sig-storage/csi-snapshotter:v3.0.0",
    "k8s.gcr.io/sig-storage/csi-attacher:v3.0.0",
)


def put_images(store: BlobStore, layer_size: int = 2000) -> dict[str, MadeImage]:
    """Put the images into ``store`` under host and path, all on one base layer; return them by name."""
    base = [make_layer("base", 20 * layer_size)]
    made = {}
    for name in IMAGES:
        repository, _, tag = name.rpartition(":")
        image = make_image(layers=base, name=repository.rpartition("/")[2] + tag, layer_size=layer_size)
        made[name] = image.put(store, repository, tag)
    return made


def registries_conf(host: str) -> str:
    """A registries.conf that sends the public registries to the one at ``host``, by http."""
    return "".join(
        f'[[registry]]\nprefix = "{source}"\nlocation = "{host}/{source}"\ninsecure = true\n'
        for source in ("docker.io", "quay.io", "k8s.gcr.io", "registry.k8s.io")
    )


def config(version: str = "2020.10", *, registry: str = REGISTRY, extra: str = "") -> str:
    """The article's bundle.yaml."""
    images = "".join(f"- {name}\n" for name in IMAGES)
    return (
        f'name: rook-ceph\nversion: "{version}"\nregistry: {registry}\nimages:\n{images}'
        f"mirrors:\n  name: rook-ceph-images\nrook:\n  version: v1.5.0\n{extra}"
    )


def build(cli: Cli, host: str, text: str | None = None, *args: str) -> Path:
    """Make a key, write the config, build; return the archive."""
    if not (cli.folder / "builder.pub").exists():
        cli.bundler("keygen", "builder").expect()
    conf = cli.folder / "registries.conf"
    conf.write_text(registries_conf(host))
    (cli.folder / "bundle.yaml").write_text(text or config())
    at = Cli(cli.folder, {**(cli.environ or {}), "CONTAINERS_REGISTRIES_CONF": str(conf)}, cli.path)
    built = at.bundler("build", "bundle.yaml", "-o", "out", "--key", "builder.key", "--json", *args).expect()
    return cli.folder / str(built.json["path"])
