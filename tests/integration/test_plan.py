"""``airgap-bundler plan`` from outside: what it says is what a build then makes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import article
from tests.support.cli import Cli, tree
from tests.support.images import make_image
from tests.support.registry import RegistryServer

MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: tools, namespace: rook-ceph}
spec:
  template:
    spec:
      containers:
      - {name: ceph, image: "docker.io/ceph/ceph:v15.2.4"}
      - {name: other, image: "quay.io/nobody/has:this"}
      - {name: short, image: rook/ceph:master, args: [--image=quay.io/looks/like:one]}
"""


@pytest.fixture
def source() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        article.put_images(server.store, layer_size=200_000)
        yield server


@pytest.fixture
def cli(tmp_path: Path, source: RegistryServer) -> Cli:
    conf = tmp_path / "registries.conf"
    conf.write_text(article.registries_conf(source.host))
    (tmp_path / "bundle.yaml").write_text(article.config())
    (tmp_path / "tools.yaml").write_text(MANIFEST)
    return Cli(tmp_path, {"SOURCE_DATE_EPOCH": "1600000000", "CONTAINERS_REGISTRIES_CONF": str(conf)})


def test_the_plan_of_a_config_bounds_the_archive(cli: Cli) -> None:
    cli.bundler("keygen", "builder").expect()
    before = tree(cli.folder)
    planned = cli.bundler("plan", "bundle.yaml", "--json").expect().json
    assert set(tree(cli.folder)) - set(before) == {"bundle.lock"}
    assert json.loads((cli.folder / "bundle.lock").read_text())["last"] is None
    built = cli.bundler("build", "bundle.yaml", "-o", "out", "--key", "builder.key", "--json", "--locked").expect().json
    assert built["size"] <= planned["archive"]["size"] <= built["size"] * 1.02
    exact = cli.bundler("plan", built["path"], "--json").expect().json
    assert exact["archive"] == {"exact": True, "name": "rook-ceph-2020.10.tar.zst", "size": built["size"]}
    assert {**exact, "archive": 0, "space": 0, "source": 0, "lock": 0} == {
        **planned,
        "archive": 0,
        "space": 0,
        "source": 0,
        "lock": 0,
    }
    assert len(planned["images"]) == 8
    assert all(image["platforms"] == ["linux/amd64", "linux/arm64"] for image in planned["images"])
    assert all(image["manifests"] == 3 for image in planned["images"])
    assert any("ROOK_CSI_CEPH_IMAGE" in why for image in planned["images"] for why in image["why"])
    shared = sum(image["size"] for image in planned["images"]) - planned["blobs"]["unique"]
    assert planned["blobs"]["beforeSharing"] - planned["blobs"]["unique"] == shared > 7 * 20 * 200_000
    assert planned["discs"]["dvd"] == 1
    assert any("registry.k8s.io" in note for note in planned["notes"])


def test_a_second_plan_changes_nothing(cli: Cli) -> None:
    cli.bundler("plan", "bundle.yaml", "--locked").expect(2)
    assert not (cli.folder / "bundle.lock").exists()
    first = cli.bundler("plan", "bundle.yaml").expect()
    assert "+ docker.io/ceph/ceph:v15.2.4" in first.out
    before = tree(cli.folder)
    second = cli.bundler("plan", "bundle.yaml", "--locked").expect()
    assert "lock " not in second.out
    assert tree(cli.folder) == before


def test_a_plan_from_the_lock_asks_nobody(cli: Cli, source: RegistryServer) -> None:
    first = cli.bundler("plan", "bundle.yaml", "--json").expect()
    source.requests.clear()
    second = cli.bundler("plan", "bundle.yaml", "--json").expect()
    assert second.json == {**first.json, "lock": [], "space": second.json["space"]}
    assert not source.requests
    assert "no registry was asked" in second.err
    assert "no registry was asked" not in first.err


@pytest.mark.parametrize("what", ["documents", "attached"])
def test_a_lock_of_before_is_read_and_filled_up(cli: Cli, source: RegistryServer, what: str) -> None:
    first = cli.bundler("plan", "bundle.yaml", "--json").expect().json
    whole = (cli.folder / "bundle.lock").read_bytes()
    lock = json.loads(whole)
    for entry in lock["images"].values():
        del entry[what]
    (cli.folder / "bundle.lock").write_text(json.dumps(lock))
    second = cli.bundler("plan", "bundle.yaml", "--json", "--locked").expect().json
    assert second == {**first, "lock": [], "space": second["space"]}
    assert (cli.folder / "bundle.lock").read_bytes() == whole


def test_a_text_in_the_lock_that_is_not_its_digests_is_refused(cli: Cli) -> None:
    cli.bundler("plan", "bundle.yaml").expect()
    lock = json.loads((cli.folder / "bundle.lock").read_text())
    documents = lock["images"]["docker.io/ceph/ceph:v15.2.4"]["documents"]
    digest = next(iter(documents))
    documents[digest] = documents[digest].replace("linux", "plan9") + " "
    (cli.folder / "bundle.lock").write_text(json.dumps(lock, indent=1))
    lines = cli.bundler("plan", "bundle.yaml").expect(2).three_lines
    assert "docker.io/ceph/ceph:v15.2.4" in lines[2]
    assert digest in lines[2]


def test_what_nothing_covers_is_listed_first(cli: Cli) -> None:
    text = article.config(extra="manifests:\n- {path: tools.yaml, phase: after-rook}\n")
    (cli.folder / "bundle.yaml").write_text(text)
    lines = cli.bundler("plan", "bundle.yaml").expect().out.splitlines()
    lines = [line for line in lines if not line.startswith(("plan ", "lock "))]
    assert lines[0].startswith("NO IMAGE")
    assert "quay.io/nobody/has:this" in lines[0]
    assert "Deployment rook-ceph/tools, container other" in lines[0]
    assert [line.split()[2] for line in lines[1:3]] == ["docker.io/ceph/ceph:v15.2.4:", "rook/ceph:master:"]
    assert any(line.startswith("perhaps") and "quay.io/looks/like:one" in line for line in lines)
    told = cli.bundler("build", "bundle.yaml", "-o", "out").expect().out
    assert re.findall(r"(?m)^warning +NO IMAGE for ([^:]+:[^:]+):", told) == ["quay.io/nobody/has:this"]
    (cli.folder / "bundle.yaml").write_text(text.replace("after-rook}", "after-rook, pin: true}"))
    planned = cli.bundler("plan", "bundle.yaml", "--json").expect().json
    found = {item["where"].rpartition(" ")[2]: item for item in planned["references"] if item["certain"]}
    assert [found[name]["covered"] for name in ("ceph", "other", "short")] == ["digest", "none", "digest"]
    assert [item["from"] for item in planned["pinned"]] == ["docker.io/ceph/ceph:v15.2.4", "rook/ceph:master"]
    digest = planned["images"][1]["digest"]
    assert planned["pinned"][1]["to"] == f"docker.io/rook/ceph@{digest}"


def test_what_moved_upstream(cli: Cli, source: RegistryServer) -> None:
    cli.bundler("plan", "bundle.yaml").expect()
    assert "nothing" in cli.bundler("plan", "bundle.yaml", "--diff").expect().out
    before = (cli.folder / "bundle.lock").read_bytes()
    new = make_image(name="moved").put(source.store, "docker.io/rook/ceph", "master")
    planned = cli.bundler("plan", "bundle.yaml", "--diff", "--json").expect().json
    (moved,) = planned["moved"]
    assert (moved["name"], moved["upstream"]) == ("docker.io/rook/ceph:master", new.digest)
    assert (cli.folder / "bundle.lock").read_bytes() == before
    updated = cli.bundler("plan", "bundle.yaml", "--update", "docker.io/rook/ceph:master").expect()
    assert f"-> {new.digest}" in updated.out
    assert new.digest in (cli.folder / "bundle.lock").read_text()


def test_discs(cli: Cli) -> None:
    planned = cli.bundler("plan", "bundle.yaml", "--medium", "bd25", "--medium", "cd", "--json").expect().json
    assert planned["discs"] == {"bd25": 1, "cd": 1}
    assert "floppy" in " ".join(cli.bundler("plan", "bundle.yaml", "--medium", "floppy").expect(2).three_lines)


def test_an_archive_has_no_lock(cli: Cli) -> None:
    cli.bundler("build", "bundle.yaml", "-o", "out").expect()
    cli.bundler("plan", "out/rook-ceph-2020.10.tar.zst", "--diff").expect(2)
    damaged = cli.folder / "damaged.tar.zst"
    damaged.write_bytes((cli.folder / "out/rook-ceph-2020.10.tar.zst").read_bytes()[:-1])
    cli.bundler("plan", damaged).expect(4)
    cli.bundler("plan", "nothing.yaml").expect(2)


@pytest.mark.parametrize(("ahead", "said"), [(0, ""), (3 * 86_400 + 60, "3 days behind"), (-86_500, "1 day ahead of")])
def test_a_clock_that_is_a_day_off_is_told(cli: Cli, source: RegistryServer, ahead: int, said: str) -> None:
    source.rules.clock = ahead
    err = cli.bundler("plan", "bundle.yaml").expect().err
    assert ("clock" in err) == bool(said)
    assert said in err


def test_an_image_that_is_gone_is_found_before_anything_is_built(cli: Cli, source: RegistryServer) -> None:
    cli.bundler("plan", "bundle.yaml").expect()
    lock = json.loads((cli.folder / "bundle.lock").read_text())
    name = "quay.io/cephcsi/cephcsi:v3.1.1"
    lock["images"][name]["digest"] = f"sha256:{'1' * 64}"
    (cli.folder / "bundle.lock").write_text(json.dumps(lock))
    lines = cli.bundler("build", "bundle.yaml", "-o", "out").expect(6).three_lines
    assert f"image {name} (line 7) is locked to sha256:1111" in lines[0]
    assert f"--update {name}" in lines[-1]
    assert not list((cli.folder / "out").glob("*.tar.zst"))
    cli.bundler("plan", "bundle.yaml", "--update", name).expect()


def test_a_name_that_was_filled_up_is_told(cli: Cli) -> None:
    config = cli.folder / "bundle.yaml"
    config.write_text(config.read_text().replace("docker.io/rook/ceph:master", "rook/ceph:master"))
    ran = cli.bundler("plan", "bundle.yaml", "--json").expect()
    assert ran.json["normalised"] == [{"line": 6, "name": "docker.io/rook/ceph:master", "written": "rook/ceph:master"}]
    assert "line 6: rook/ceph:master is docker.io/rook/ceph:master" in ran.err
