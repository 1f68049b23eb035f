"""Images from folders, archives and single platforms: what is built is what was there, and loads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loader.bundle.ocimanifest import INDEX_TYPES
from tests.support.cli import Cli
from tests.support.images import MadeImage, make_image
from tests.support.programs import docker_registry, skopeo
from tests.support.registry import RegistryServer
from tests.support.registryrules import Rules

PLATFORMS = ("linux/amd64", "linux/arm/v7", "linux/arm64")


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    (tmp_path / "tmp").mkdir()
    made = Cli(tmp_path, {"SOURCE_DATE_EPOCH": "1600000000", "TMPDIR": str(tmp_path / "tmp")})
    made.bundler("keygen", "builder").expect()
    return made


@pytest.fixture
def source() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        yield server


def config(*images: str, extra: str = "") -> str:
    lines = "".join(f"- {image}\n" for image in images)
    return f'name: s\nversion: "1"\nregistry: r.example:5000\nimages:\n{lines}{extra}'


BUILD = ("build", "bundle.yaml", "-o", "out", "--key", "builder.key", "--plain-http", "--json")


def build(cli: Cli, text: str, *args: str) -> dict[str, str]:
    """Build, verify and list: repository to digest."""
    (cli.folder / "bundle.yaml").write_text(text)
    built = cli.bundler(*BUILD, *args).expect().json
    cli.loader("verify", built["path"], "--trust", "builder.pub").expect()
    assert list((cli.folder / "tmp").iterdir()) == []
    return {image["repository"]: image["digest"] for image in built["images"]}


def images(cli: Cli) -> list[dict[str, Any]]:
    """The images of the bundle as the loader lists them."""
    listed = cli.loader("inspect", "out/s-1.tar.zst", "--trust", "builder.pub", "--json").expect().json["images"]
    assert isinstance(listed, list)
    return listed


def test_a_folder_of_layouts(cli: Cli) -> None:
    one = make_image(name="one")
    two = make_image(name="two", platforms=["linux/amd64"])
    one.write(cli.folder / "mirror/ceph")
    two.write(cli.folder / "mirror/other")
    (cli.folder / "mirror/names.txt").write_text("ceph docker.io/ceph/ceph:v15\nquay.io/x/other:1\n")
    assert build(cli, config("fromDirs: mirror/*")) == {"ceph/ceph": one.digest, "x/other": two.digest}
    shutil.rmtree(cli.folder / "mirror/other")
    ran = cli.bundler(*BUILD).expect(2)
    assert "names.txt line 2: no folder for quay.io/x/other:1" in ran.err


def oci_image() -> MadeImage:
    return make_image(platforms=PLATFORMS, oci_types=True)


def test_archives_and_layouts_that_skopeo_reads(cli: Cli) -> None:
    image = oci_image()
    image.write(cli.folder / "dir")
    skopeo(cli.home, "copy", "-q", "--all", f"dir:{cli.folder}/dir", f"oci:{cli.folder}/layout:1")
    skopeo(cli.home, "copy", "-q", "--all", f"dir:{cli.folder}/dir", f"oci-archive:{cli.folder}/a b.tar:1")
    single = make_image(platforms=["linux/amd64"], name="single")
    single.write(cli.folder / "single")
    skopeo(cli.home, "copy", "-q", f"dir:{cli.folder}/single", f"docker-archive:{cli.folder}/d.tar:x/d:1")
    text = config(
        "{image: x/layout, from: 'oci:layout:1'}",
        "{image: x/archive, from: 'oci-archive:a b.tar:1'}",
        "{image: x/docker, from: docker-archive:d.tar}",
        "{image: x/docker:again, from: docker-archive:d.tar}",
    )
    found = build(cli, text)
    assert found["x/layout"] == found["x/archive"] == image.digest
    assert found["x/docker"] != single.digest
    said = cli.bundler(*BUILD, "--locked").expect().err
    assert "docker-archive:" in said
    lock = json.loads((cli.folder / "bundle.lock").read_text())["images"]
    assert {name for name, entry in lock.items() if entry.get("madeFrom") == "docker-archive"} == {
        "docker.io/x/docker:latest",
        "docker.io/x/docker:again",
    }
    space = cli.bundler("plan", "bundle.yaml", "--json").expect().json["space"]
    assert 0 < space["temporary"] < space["freeTemporary"]
    assert "digest is not upstream's" in said
    assert build(cli, text, "--locked") == found


@pytest.mark.parametrize("origin", ["oci-archive:nothing.tar", "oci:nothing", "docker-archive:text"])
def test_what_skopeo_cannot_read(cli: Cli, origin: str) -> None:
    (cli.folder / "text").write_text("no archive")
    (cli.folder / "bundle.yaml").write_text(config(f"{{image: a/b, from: '{origin}'}}"))
    ran = cli.bundler(*BUILD).expect(2)
    assert origin.partition(":")[0] in ran.three_lines[0]
    assert list((cli.folder / "tmp").iterdir()) == []


def test_without_skopeo_its_line_is_told(cli: Cli) -> None:
    empty = Cli(cli.folder, cli.environ, str(cli.folder / "home"))
    (cli.folder / "bundle.yaml").write_text(config("{image: a/b, from: oci:x}"))
    assert "install skopeo" in " ".join(empty.bundler(*BUILD).expect(2).three_lines)


def test_a_sparse_index_keeps_its_bytes(cli: Cli, source: RegistryServer, tmp_path: Path) -> None:
    image = make_image(platforms=PLATFORMS, layer_size=300_000).put(source.store, "app", "1")
    other = make_image(name="other").put(source.store, "other", "1")
    text = config(f"{source.host}/app:1", f"{{image: '{source.host}/other:1', platforms: all}}")
    found = build(cli, text + "platforms: [linux/arm64, linux/arm/v7]\n")
    assert found == {"app": image.digest, "other": other.digest}
    listed = images(cli)
    assert listed[0]["platforms"] == ["linux/arm/v7", "linux/arm64"]
    assert [item["digest"] for item in listed[0]["omitted"]] == [image.manifests[0][0]]
    size = (cli.folder / "out/s-1.tar.zst").stat().st_size
    assert 600_000 < size < 700_000
    lock = json.loads((cli.folder / "bundle.lock").read_text())
    assert lock["images"][f"{source.host}/app:1"]["platforms"] == list(PLATFORMS)
    with RegistryServer(rules=Rules(sparse=True)) as inside:
        push = ("push", "out/s-1.tar.zst", "--trust", "builder.pub", "--registry", inside.host, "--plain-http")
        cli.loader(*push).expect()
        assert inside.store.tags["app", "1"] == image.digest


def test_a_rewritten_index_is_ours_everywhere(cli: Cli, source: RegistryServer) -> None:
    image = make_image(platforms=PLATFORMS).put(source.store, "app", "1")
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: c, image: IMAGE}]}\n"
    (cli.folder / "pod.yaml").write_text(pod.replace("IMAGE", f'"{source.host}/app@{image.digest}"'))
    text = config(f"{source.host}/app:1", extra="manifests: [{path: pod.yaml, phase: after-rook, pin: true}]\n")
    two = ("--platform", "linux/amd64", "--platform", "linux/arm64", "--rewrite-index")
    found = build(cli, text, *two)
    assert found["app"] != image.digest
    (listed,) = images(cli)
    assert (listed["platforms"], listed["omitted"]) == (["linux/amd64", "linux/arm64"], [])
    documents = cli.loader("inspect", "out/s-1.tar.zst", "--trust", "builder.pub", "--documents").expect().out
    assert f"app@{found['app']}" in documents
    assert image.digest not in documents
    planned = cli.bundler("plan", "out/s-1.tar.zst", "--json").expect().json
    assert planned["images"][0]["rewritten"] == image.digest
    assert [item["covered"] for item in planned["references"]] == ["digest"]
    # The lock holds what is upstream, so the next build finds it.
    assert image.digest in (cli.folder / "bundle.lock").read_text()
    assert build(cli, text, *two, "--locked") == found
    with docker_registry(cli.folder / "registry") as inside:
        push = ("push", "out/s-1.tar.zst", "--trust", "builder.pub", "--registry", inside.host, "--plain-http")
        cli.loader(*push).expect()
        raw = skopeo(cli.home, "inspect", "--raw", "--tls-verify=false", f"docker://{inside.host}/app:1")
        assert len(json.loads(raw)["manifests"]) == 2


def test_one_platform_for_a_registry_that_takes_no_list(cli: Cli, source: RegistryServer) -> None:
    """OpenShift's own registry before 4.13: no list, nothing by digest, the project has to exist."""
    image = make_image(platforms=PLATFORMS).put(source.store, "team/app", "1")
    child = image.manifests[0][0]
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: c, image: IMAGE}]}\n"
    (cli.folder / "pod.yaml").write_text(pod.replace("IMAGE", f'"{source.host}/team/app@{image.digest}"'))
    text = config(f"{source.host}/team/app:1", extra="manifests: [{path: pod.yaml, phase: after-rook, pin: true}]\n")
    access = ("--trust", "builder.pub", "--plain-http")
    rules = Rules(by_digest=False, refused_types=INDEX_TYPES, projects=frozenset({"team"}), depth=2)
    with RegistryServer(rules=rules) as inside:
        build(cli, text)
        refused = cli.loader("push", "out/s-1.tar.zst", *access, "--registry", inside.host).expect(6)
        assert "--platform linux/amd64 --rewrite-index" in refused.three_lines[-1]
        assert not inside.seen("PUT", "/blobs/")
        shutil.rmtree(cli.folder / "out")
        assert build(cli, text, "--platform", "linux/amd64", "--rewrite-index") == {"team/app": child}
        (listed,) = images(cli)
        assert (listed["digest"], listed["rewritten"], listed["omitted"]) == (child, image.digest, [])
        documents = cli.loader("inspect", "out/s-1.tar.zst", "--trust", "builder.pub", "--documents").expect().out
        assert f"app@{child}" in documents
        assert image.digest not in documents
        cli.loader("push", "out/s-1.tar.zst", *access, "--registry", inside.host).expect()
        assert inside.store.tags["team/app", "1"] == child


def test_platforms_that_are_not_there(cli: Cli, source: RegistryServer) -> None:
    make_image(platforms=PLATFORMS).put(source.store, "app", "1")
    make_image(platforms=["linux/amd64"], name="single").put(source.store, "single", "1")
    for name, offered in (("app", "linux/arm/v7"), ("single", "linux/amd64")):
        (cli.folder / "bundle.yaml").write_text(config(f"{source.host}/{name}:1"))
        lines = cli.bundler(*BUILD, "--platform", "linux/s390x").expect(2).three_lines
        assert name in lines[0]
        assert offered in lines[1]
    assert build(cli, config(f"{source.host}/single:1"), "--platform", "linux/amd64")
    cli.bundler(*BUILD, "--platform", "amd64").expect(2)


def test_a_copy_that_is_interrupted_leaves_nothing(cli: Cli) -> None:
    (cli.folder / "archive.tar").write_bytes(b"x")
    started = cli.folder / "started"
    script = f"#!/bin/sh\necho $$ > {started}\nexec sleep 60\n"
    (cli.folder / "bin").mkdir()
    (cli.folder / "bin/skopeo").write_text(script)
    (cli.folder / "bin/skopeo").chmod(0o755)
    at = Cli(cli.folder, cli.environ, f"{cli.folder / 'bin'}{os.pathsep}{os.defpath}")
    (cli.folder / "bundle.yaml").write_text(config("{image: a/b, from: oci-archive:archive.tar}"))
    process = subprocess.Popen(
        at.command("airgap-bundler", *BUILD),
        cwd=at.folder,
        env=at.variables(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    until = time.monotonic() + 20
    while not (started.exists() and started.read_text()) and time.monotonic() < until:
        time.sleep(0.02)
    assert len(list((cli.folder / "tmp").iterdir())) == 1
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert list((cli.folder / "tmp").iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)
