"""``airgap-bundler build`` from outside: the lock, the result's bytes, and sources that misbehave."""

from __future__ import annotations

import base64
import json
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.fetch import RANGE
from loader.bundle.limits import MIB
from tests.support import article
from tests.support.cli import Cli
from tests.support.images import make_image, make_layer
from tests.support.registry import RegistryServer
from tests.support.registryrules import Rules


@pytest.fixture
def source() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        article.put_images(server.store)
        yield server


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path, {"SOURCE_DATE_EPOCH": "1600000000"})


def simple(server: RegistryServer, *names: str) -> str:
    images = "".join(f"- {server.host}/{name}\n" for name in names)
    return f'name: simple\nversion: "1"\nregistry: r.example:5000\nimages:\n{images}'


def prepare(cli: Cli, text: str) -> None:
    cli.bundler("keygen", "builder").expect()
    (cli.folder / "bundle.yaml").write_text(text)


BUILD = ("build", "bundle.yaml", "-o", "out", "--key", "builder.key", "--plain-http")


def nothing_left(cli: Cli) -> bool:
    out = cli.folder / "out"
    return not out.exists() or not list(out.iterdir())


def test_the_same_input_gives_the_same_bytes(cli: Cli, source: RegistryServer) -> None:
    first = article.build(cli, source.host)
    again = article.build(Cli(cli.folder, cli.environ), source.host, None)
    other = Cli(cli.folder / "other", cli.environ)
    other.folder.mkdir()
    for name in ("builder.key", "builder.pub", "bundle.lock"):
        (other.folder / name).write_bytes((cli.folder / name).read_bytes())
    elsewhere = article.build(other, source.host)
    assert first == again
    assert elsewhere.read_bytes() == first.read_bytes()
    assert (elsewhere.parent / f"{first.name}.sha256.builder.sig").read_bytes() == (
        first.parent / f"{first.name}.sha256.builder.sig"
    ).read_bytes()


def test_building_twice_without_a_fixed_time_keeps_the_bundle(tmp_path: Path, source: RegistryServer) -> None:
    cli = Cli(tmp_path)
    first = article.build(cli, source.host)
    data = first.read_bytes()
    assert article.build(cli, source.host).read_bytes() == data


def test_a_lock_that_cannot_be_written_is_told_before_the_layers_are_fetched(
    cli: Cli, source: RegistryServer, tmp_path: Path
) -> None:
    prepare(cli, simple(source, "docker.io/ceph/ceph:v15.2.4"))
    command = cli.command("airgap-bundler", *BUILD[:3], tmp_path.parent / f"{tmp_path.name}-out", *BUILD[4:])
    read_only = 'mount --bind . . && mount -o remount,ro,bind . && cd "$PWD" && exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", read_only, "sh", *command],
        cwd=cli.folder,
        env=cli.variables(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "bundle.lock cannot be written: a build that changes it" in done.stderr.splitlines()[0]
    assert "cannot write bundle.lock" in done.stderr


def test_another_bundle_of_the_same_name_is_not_overwritten(cli: Cli, source: RegistryServer) -> None:
    prepare(cli, simple(source, "docker.io/ceph/ceph:v15.2.4"))
    cli.bundler(*BUILD).expect()
    before = (cli.folder / "out/simple-1.tar.zst").read_bytes()
    (cli.folder / "bundle.yaml").write_text(simple(source, "docker.io/rook/ceph:master"))
    ran = cli.bundler(*BUILD).expect(2)
    assert "version" in ran.three_lines[-1]
    assert (cli.folder / "out/simple-1.tar.zst").read_bytes() == before


def test_nothing_locked_moves_unless_asked(cli: Cli, source: RegistryServer) -> None:
    prepare(cli, simple(source, "app:1"))
    old = make_image(name="old").put(source.store, "app", "1")
    cli.bundler(*BUILD).expect()
    new = make_image(name="new").put(source.store, "app", "1")
    cli.bundler(*BUILD).expect()
    lock = json.loads((cli.folder / "bundle.lock").read_text())
    name = f"{source.host}/app:1"
    assert lock["images"][name]["digest"] == old.digest
    (cli.folder / "bundle.yaml").write_text(simple(source, "app:1").replace('"1"', '"2"'))
    moved = cli.bundler(*BUILD, "--update", name).expect()
    assert f"~ {name} {old.digest} -> {new.digest}" in moved.out
    cli.bundler(*BUILD, "--update", "nothing").expect(2)
    cli.bundler(*BUILD, "--locked").expect()
    (cli.folder / "bundle.yaml").write_text(simple(source, "app:1", "docker.io/rook/ceph:master"))
    ran = cli.bundler(*BUILD, "--locked").expect(2)
    assert "not in the lock" in ran.err


def test_what_is_locked_while_a_build_runs_stays_so(cli: Cli, source: RegistryServer) -> None:
    make_image(name="old").put(source.store, "x/a", "1")
    prepare(cli, simple(source, "x/a:1"))
    cli.bundler("plan", "bundle.yaml", "--plain-http").expect()
    new = make_image(name="new").put(source.store, "x/a", "1")
    cli.bundler("plan", "bundle.yaml", "--plain-http", "--update", f"{source.host}/x/a:1").expect()
    later = (cli.folder / "bundle.lock").read_bytes()
    (cli.folder / "later.lock").write_bytes(later)
    make_image(name="old").put(source.store, "x/a", "1")
    cli.bundler("plan", "bundle.yaml", "--plain-http", "--update", f"{source.host}/x/a:1").expect()
    # A credential helper is asked while the build runs, and stands for somebody else's plan.
    helper = cli.folder / "bin" / "docker-credential-later"
    helper.parent.mkdir()
    helper.write_text("#!/bin/sh\ncp later.lock bundle.lock\necho credentials not found\nexit 1\n")
    helper.chmod(0o755)
    (cli.folder / "auth.json").write_text(json.dumps({"auths": {}, "credHelpers": {source.host: "later"}}))
    slow = Cli(cli.folder, cli.environ, path=f"{helper.parent}:{cli.path}")
    built = slow.bundler(*BUILD, "--authfile", "auth.json").expect()
    assert f"was locked anew meanwhile, to {new.digest}" in built.err
    lock = json.loads((cli.folder / "bundle.lock").read_text())
    assert lock["images"] == json.loads(later)["images"]
    assert lock["last"] is not None


def test_a_garbled_lock_is_refused(cli: Cli, source: RegistryServer) -> None:
    prepare(cli, simple(source, "docker.io/ceph/ceph:v15.2.4"))
    for text in ("{", "{}", "[]", '{"formatVersion": 1, "images": {"a": {}}, "last": null}'):
        (cli.folder / "bundle.lock").write_text(text)
        ran = cli.bundler(*BUILD).expect(2)
        assert "bundle.lock" in ran.three_lines[0]
    assert nothing_left(cli)


def test_images_that_are_not_there_are_all_named(cli: Cli, source: RegistryServer) -> None:
    prepare(cli, simple(source, "docker.io/ceph/ceph:v15.2.4", "nope:1", "docker.io/ceph/ceph:nope"))
    text = " ".join(cli.bundler(*BUILD).expect(6).three_lines)
    assert "nope:1" in text
    assert "ceph/ceph:nope" in text
    assert nothing_left(cli)
    assert not (cli.folder / "bundle.lock").exists()


def test_an_image_that_needs_a_login(cli: Cli) -> None:
    with RegistryServer(rules=Rules(auth="basic")) as private:
        make_image().put(private.store, "app", "1")
        prepare(cli, simple(private, "app:1"))
        text = " ".join(cli.bundler(*BUILD).expect(6).three_lines)
        assert "app" in text
        assert "log" in text
        assert private.rules.login[1] not in text


@pytest.mark.parametrize("kind", ["corrupt", "truncate", "length", "html"])
def test_a_blob_that_arrives_wrong(kind: str, cli: Cli, source: RegistryServer) -> None:
    make_image(layer_size=3_000_000, platforms=["linux/amd64"]).put(source.store, "big", "1")
    source.fail(kind, path="/blobs/", times=1000)
    prepare(cli, simple(source, "big:1"))
    cli.bundler(*BUILD).expect(6 if kind != "corrupt" else 3)
    assert nothing_left(cli)


def test_a_manifest_that_changes_while_it_is_read(cli: Cli, source: RegistryServer) -> None:
    prepare(cli, simple(source, "docker.io/ceph/ceph:v15.2.4"))
    name = "docker.io/ceph/ceph"
    top = source.store.tags[name, "v15.2.4"]
    child = next(digest for repository, digest in source.store.manifests if repository == name and digest != top)
    data, media_type = source.store.manifests[name, child]
    source.store.manifests[name, child] = (data[:-1] + b" }", media_type)
    text = " ".join(cli.bundler(*BUILD).expect(3).three_lines)
    assert child in text
    assert nothing_left(cli)


def test_a_registry_that_hiccups_is_asked_again(cli: Cli, source: RegistryServer) -> None:
    source.fail("status", path="/manifests/", status=503, times=1)
    source.fail("status", path="/blobs/", status=429, headers={"Retry-After": "0"}, times=1)
    source.fail("reset", path="/blobs/", times=1)
    prepare(cli, simple(source, "docker.io/ceph/ceph:v15.2.4"))
    cli.bundler(*BUILD).expect()


def test_an_unsigned_bundle_says_so_and_no_loader_takes_it(cli: Cli, source: RegistryServer) -> None:
    prepare(cli, simple(source, "docker.io/ceph/ceph:v15.2.4"))
    ran = cli.bundler("build", "bundle.yaml", "-o", "out", "--plain-http").expect()
    assert "unsigned" in ran.err
    bundle = cli.folder / "out/simple-1.tar.zst"
    cli.loader("verify", bundle, "--trust", "builder.pub").expect(3)
    cli.bundler("sign", bundle, "--key", "builder.key").expect()
    cli.loader("verify", bundle, "--trust", "builder.pub").expect()


def test_keys_are_never_overwritten_and_stay_private(cli: Cli) -> None:
    made = cli.bundler("keygen", "builder", "--json").expect().json
    assert made["fingerprint"].startswith("sha256:")
    assert (cli.folder / "builder.key").stat().st_mode & 0o777 == 0o600
    before = (cli.folder / "builder.key").read_bytes()
    cli.bundler("keygen", "builder").expect(2)
    assert (cli.folder / "builder.key").read_bytes() == before


def test_a_key_from_the_environment_is_not_shown(cli: Cli, source: RegistryServer) -> None:
    prepare(cli, simple(source, "docker.io/ceph/ceph:v15.2.4"))
    pem = (cli.folder / "builder.key").read_text()
    inside = Cli(cli.folder, {"SIGNING": pem})
    ran = inside.bundler("build", "bundle.yaml", "-o", "out", "--plain-http", "--key", "env:SIGNING").expect()
    assert "signed by signing" in ran.out
    broken = Cli(cli.folder, {"SIGNING": pem[:60] + pem[80:]})
    ran = broken.bundler("build", "bundle.yaml", "-o", "out", "--plain-http", "--key", "env:SIGNING").expect(2)
    assert pem.splitlines()[1][:20] not in ran.out + ran.err


def test_the_same_bytes_for_any_number_of_jobs_and_any_order_of_arrival(cli: Cli, source: RegistryServer) -> None:
    layers = [make_layer(f"layer-{number}", 18 * 2**20) for number in range(2)]
    make_image(platforms=["linux/amd64"], layers=layers, oci_types=True).put(source.store, "big/app", "v1")
    prepare(cli, simple(source, "big/app:v1"))
    archive = cli.folder / "out" / "simple-1.tar.zst"
    built = set()
    for jobs, unruly in ((1, False), (3, True), (16, True)):
        if unruly:
            dice = random.Random(jobs)
            source.on_request = lambda _, dice=dice: time.sleep(dice.random() / 10)  # type: ignore[misc]
        cli.bundler(*BUILD, "--jobs", str(jobs)).expect()
        built.add(archive.read_bytes())
        archive.unlink()
    assert len(built) == 1


def test_a_server_without_ranges_sends_each_blob_once(cli: Cli, source: RegistryServer) -> None:
    layer = make_layer("layer", 40 * 2**20)
    image = make_image(platforms=["linux/amd64"], layers=[layer]).put(source.store, "big/app", "v1")
    source.fail("no-range", path="/blobs/", times=999)
    prepare(cli, simple(source, "big/app:v1"))
    cli.bundler(*BUILD, "--jobs", "8").expect()
    asked = [one.path.rpartition("/")[2] for one in source.seen("GET", "/blobs/")]
    assert sorted(asked) == sorted(image.blobs)


def test_a_server_that_wants_fewer_requests_is_waited_for(cli: Cli, source: RegistryServer) -> None:
    image = make_image(platforms=["linux/amd64"], layers=[make_layer("layer", RANGE + 2 * MIB)])
    image.put(source.store, "big/app", "v1")
    source.fail("status", path="/blobs/", status=429, times=3, headers={"Retry-After": "0"})
    prepare(cli, simple(source, "big/app:v1"))
    cli.bundler(*BUILD, "--jobs", "2").expect()
    assert len(source.seen("GET", "/blobs/")) == 3 + len(image.blobs) + 1


def test_a_token_that_expires_midway_is_asked_for_again(cli: Cli, source: RegistryServer) -> None:
    image = make_image(platforms=["linux/amd64"], layers=[make_layer("layer", RANGE + 2 * MIB)])
    image.put(source.store, "big/app", "v1")
    source.rules = Rules(auth="bearer")
    login = base64.b64encode(":".join(source.rules.login).encode()).decode()
    (cli.folder / "auth.json").write_text(json.dumps({"auths": {source.host: {"auth": login}}}))
    prepare(cli, simple(source, "big/app:v1"))
    source.on_request = lambda count: source.tokens.clear() if count % 4 == 0 else None
    cli.bundler(*BUILD, "--authfile", "auth.json").expect()
    assert len(source.seen("GET", "^/token")) > 1
