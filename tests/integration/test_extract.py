"""Images for nodes without a registry: what containerd, skopeo and k3s import has the names and digests it should."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest

from loader.bundle.digest import digest_of
from tests.support.bundles import make_signer
from tests.support.cli import Cli, Ran
from tests.support.containerd import containerd
from tests.support.programs import skopeo
from tests.support.served import BIG, served

ARCHIVE = "demo-1.tar.zst"
ONE, TWO, BARE = served().one, served().two, served().bare
ALL = {
    "docker.io/ceph/ceph:v1": ONE.digest,
    f"docker.io/ceph/ceph@{ONE.digest}": ONE.digest,
    "quay.io/ceph/ceph:v2": TWO.digest,
    f"quay.io/ceph/ceph@{TWO.digest}": TWO.digest,
    f"registry.local:5000/team/bare@{BARE.digest}": BARE.digest,
}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    (tmp_path / ARCHIVE).write_bytes(served().recipe.archive())
    (tmp_path / "builder.pub").write_bytes(make_signer("builder").public.pem)
    return Cli(tmp_path, path=os.environ["PATH"])


def extract(cli: Cli, *args: object) -> Ran:
    return cli.loader("extract", ARCHIVE, "-o", "out", "--trust", "builder.pub", *args)


def test_containerd_imports_every_image_by_tag_and_by_digest(cli: Cli) -> None:
    ran = extract(cli, "--format", "oci-archive", "--json").expect()
    (path,) = ran.json["written"]
    assert path == "out/demo-1.oci.tar"
    assert f"ctr -n k8s.io images import {path}" in ran.err
    with containerd() as node:
        node.ctr("images", "import", "--no-unpack", "--all-platforms", cli.folder / path)
        assert node.images() == ALL


def test_one_image_is_taken_without_being_named(cli: Cli) -> None:
    extract(cli, "--format", "oci-archive", "--image", "docker.io/ceph/ceph").expect()
    path = cli.folder / "out/0000-app0.oci.tar"
    copy = cli.folder / "copy"
    skopeo(cli.home, "copy", "--all", f"oci-archive:{path}", f"dir:{copy}")
    assert (copy / "manifest.json").read_bytes() == ONE.data
    assert (copy / digest_of(BIG)[7:]).read_bytes() == BIG
    with containerd() as node:
        node.ctr("images", "import", "--no-unpack", path)
        assert node.images() == {"docker.io/ceph/ceph:v1": ONE.digest}


def test_one_platform_is_an_image_of_its_own(cli: Cli) -> None:
    args = ("--platform", "linux/amd64", "--image", "*/ceph/*")
    extract(cli, "--format", "oci-archive", *args).expect()
    child = ONE.manifests[0][0]
    with containerd() as node:
        node.ctr("images", "import", "--no-unpack", "--all-platforms", cli.folder / "out/demo-1.oci.tar")
        assert node.images()["docker.io/ceph/ceph:v1"] == child
    with tarfile.open(cli.folder / "out/demo-1.oci.tar") as tar:
        stream = tar.extractfile("manifest.json")
        assert stream is not None
        saved = json.load(stream)
        assert {saved[0]["Config"], *saved[0]["Layers"]} <= set(tar.getnames())
    assert [one["RepoTags"] for one in saved] == [["docker.io/ceph/ceph:v1"], ["quay.io/ceph/ceph:v2"]]
    extract(cli, *args).expect()
    assert digest_of((cli.folder / "out/images/0000-app0/manifest.json").read_bytes()) == child
    skopeo(cli.home, "copy", f"dir:{cli.folder / 'out/images/0000-app0'}", f"dir:{cli.folder / 'copy'}")
    ran = extract(cli, "--platform", "linux/arm64").expect(2)
    assert "quay.io/ceph/ceph:v2" in ran.err
    assert "docker.io/ceph/ceph:v1" not in ran.err
    extract(cli, "--platform", "amd64").expect(2)


def test_a_layout_of_several_images(cli: Cli) -> None:
    extract(cli, "--format", "oci").expect()
    layout = cli.folder / "out"
    # skopeo takes by name what has an OCI type, and says so of others.
    copied = cli.folder / "copy"
    skopeo(cli.home, "copy", f"oci:{layout}:quay.io/ceph/ceph:v2", f"dir:{copied}")
    assert (copied / "manifest.json").read_bytes() == TWO.data
    for blob in (layout / "blobs/sha256").iterdir():
        assert digest_of(blob.read_bytes())[7:] == blob.name
    assert extract(cli, "--format", "oci").expect(1).three_lines[0].endswith("out exists already")


def test_what_belongs_to_an_image_goes_with_its_layout(cli: Cli) -> None:
    extract(cli, "--image", "docker.io/*").expect()
    folders = sorted(path.name for path in (cli.folder / "out/images").iterdir())
    assert folders == ["0000-app0", "0003-ceph", "0004-ceph"]


def test_a_file_that_is_there_is_not_replaced(cli: Cli) -> None:
    (cli.folder / "mine.tar").write_text("mine")
    args = ("extract", ARCHIVE, "-o", "mine.tar", "--trust", "builder.pub", "--format", "oci-archive")
    cli.loader(*args).expect(1)
    assert (cli.folder / "mine.tar").read_text() == "mine"
    assert [path.name for path in cli.folder.iterdir() if path.name.startswith(".")] == []


def test_an_older_bundle_is_extracted_and_said_to_be_older(cli: Cli) -> None:
    state = cli.home / ".local/state/airgap-loader/sequences.json"
    state.parent.mkdir(parents=True)
    key = make_signer("builder").public.fingerprint
    seen = {"fingerprint": key, "id": "0" * 64, "name": "demo", "sequence": 99}
    text = json.dumps({"formatVersion": 1, "overrides": [], "seen": [seen]}, sort_keys=True, separators=(",", ":"))
    state.write_text(f"{text}\n")
    assert "OLDER than what was imported here" in extract(cli).expect().err


def test_into_the_local_storage_of_podman(cli: Cli) -> None:
    storage = f"containers-storage:[vfs@{cli.folder}/storage+{cli.folder}/run]"
    push = ("push", ARCHIVE, "--trust", "builder.pub", "--to", storage)
    cli.loader(*push, "--dry-run").expect()
    assert not (cli.folder / "storage").exists()
    ran = cli.loader(*push, "--image", "*/ceph/*", "--json").expect()
    names = ["docker.io/ceph/ceph:v1", "quay.io/ceph/ceph:v2"]
    assert ran.json["stored"] == [storage + name for name in names]
    report = json.loads((cli.folder / "demo-1.load.json").read_text())
    assert (report["registry"], report["state"], report["runs"][0]["verb"]) == (storage, "complete", "push")
    assert [f"{image['repository']}:{image['tag']}" for image in report["images"]] == names
    (kept,) = cli.loader("history", "demo", "--json").expect().json["loads"]
    assert [kept["load"][name] for name in ("verb", "registry", "state")] == ["push", storage, "complete"]
    for name in (*names, f"docker.io/ceph/ceph@{ONE.digest}"):
        assert json.loads(skopeo(cli.home, "inspect", storage + name))["Architecture"] == "amd64"
    again = cli.loader(*push, "--image", "quay.io/*").expect()
    assert "after 7" in again.out
    cli.loader("push", ARCHIVE, "--trust", "builder.pub", "--to", "docker-daemon:").expect(2)
    cli.loader(*push, "--registry", "r.example").expect(2)
    no_skopeo = Cli(cli.folder, path=str(cli.folder / "nothing"))
    assert "apt-get install skopeo" in " ".join(
        no_skopeo.loader(*push, "--crypto", "cryptography").expect(2).three_lines
    )
