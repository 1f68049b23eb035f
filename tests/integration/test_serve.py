"""A bundle as a registry: real clients pull from it, the spec's own suite passes, and what changed is not sent."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from loader.bundle.digest import digest_of
from tests.support.bundles import make_signer
from tests.support.certificates import PrivateAuthority
from tests.support.cli import Cli
from tests.support.gotools import tool
from tests.support.programs import skopeo
from tests.support.served import BIG, served
from tests.support.serving import Serving, serving

ARCHIVE = "demo-1.tar.zst"
TRUST = ("--trust", "builder.pub")
ONE, TWO = served().one, served().two
INSECURE = "--src-tls-verify=false"


def prepare(folder: Path, archive: bytes | None = None) -> Cli:
    (folder / ARCHIVE).write_bytes(served().recipe.archive() if archive is None else archive)
    (folder / "builder.pub").write_bytes(make_signer("builder").public.pem)
    return Cli(folder, path=os.environ["PATH"])


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return prepare(tmp_path)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(prepare(tmp_path_factory.mktemp("serve")), ARCHIVE, *TRUST) as running:
        yield running


def run(*command: object, check: bool = True, **environ: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        list(map(str, command)), env={**os.environ, **environ}, capture_output=True, text=True, timeout=120
    )
    assert not check or done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


def test_the_conformance_suite_of_the_spec_passes(registry: Serving, tmp_path: Path) -> None:
    manifests = [digest for image in (ONE, TWO) for digest, _, _ in image.manifests]
    environ = {
        "OCI_REGISTRY": registry.host,
        "OCI_TLS": "disabled",
        "OCI_REPO1": "ceph/ceph",
        "OCI_API_PUSH": "false",
        "OCI_API_BLOBS_DELETE": "false",
        "OCI_API_MANIFESTS_DELETE": "false",
        "OCI_API_TAGS_DELETE": "false",
        "OCI_RO_DATA_TAGS": "v1 v2",
        "OCI_RO_DATA_MANIFESTS": " ".join(manifests),
        "OCI_RO_DATA_BLOBS": " ".join([*ONE.blobs, *TWO.blobs]),
        "OCI_RO_DATA_REFERRERS": ONE.digest,
        "OCI_RESULTS_DIR": str(tmp_path),
    }
    # Its writer of further reports fails on read-only data, so the report it prints is what counts, not its status.
    report = run(tool("conformance"), check=False, **environ).stdout
    counts = dict(re.findall(r"^  (Skip|Pass|FAIL|Error)\.+: +(\d+)$", report, re.MULTILINE))
    assert "OCI Conformance Result: Pass" in report, report
    assert (counts["FAIL"], counts["Error"], counts["Skip"]) == ("0", "0", "0")
    assert int(counts["Pass"]) > 2 * (2 + len(manifests) + len(ONE.blobs))
    for api in ("Tag listing", "Blob get", "Blob head", "Manifest get by digest", "Manifest get by tag", "Referrers"):
        assert re.search(rf"^  {api}\.+: +Pass$", report, re.MULTILINE), report


@pytest.mark.parametrize("name", ["ceph/ceph:v1", f"ceph/ceph@{ONE.digest}", "docker.io/ceph/ceph:v1"])
def test_skopeo_pulls_by_tag_and_by_digest(registry: Serving, tmp_path: Path, name: str) -> None:
    skopeo(tmp_path, "copy", "--all", INSECURE, f"docker://{registry.host}/{name}", f"dir:{tmp_path / 'copy'}")
    assert (tmp_path / "copy/manifest.json").read_bytes() == ONE.data
    for digest, data in ONE.blobs.items():
        assert (tmp_path / "copy" / digest[7:]).read_bytes() == data
    tags = json.loads(skopeo(tmp_path, "list-tags", "--tls-verify=false", f"docker://{registry.host}/ceph/ceph"))
    assert tags["Tags"] == ["sha256-1.sig", "v1", "v2"]


def test_crane_pulls_and_checks(registry: Serving, tmp_path: Path) -> None:
    crane = tool("crane")
    for name in ("ceph/ceph:v2", f"ceph/ceph@{TWO.digest}"):
        run(crane, "validate", "--insecure", "--remote", f"{registry.host}/{name}")
    layout = tmp_path / "layout"
    run(crane, "pull", "--insecure", "--format", "oci", f"{registry.host}/ceph/ceph:v1", layout)
    for digest, data in ONE.blobs.items():
        assert (layout / "blobs/sha256" / digest[7:]).read_bytes() == data
    assert run(crane, "digest", "--insecure", f"{registry.host}/ceph/ceph:v2").stdout.strip() == TWO.digest
    assert run(crane, "catalog", "--insecure", registry.host).stdout.split() == ["ceph/ceph", "team/bare"]


def test_oras_finds_what_refers_to_an_image(registry: Serving, tmp_path: Path) -> None:
    oras = tool("oras")
    found = run(oras, "discover", "--plain-http", "--format", "json", f"{registry.host}/ceph/ceph:v1").stdout
    assert served().referrer.digest in found
    assert "application/vnd.example.sbom" in found
    layout = tmp_path / "layout"
    copy = ("cp", "-r", "--from-plain-http", f"{registry.host}/ceph/ceph:v1", "--to-oci-layout", f"{layout}:v1")
    run(oras, *copy, HOME=str(tmp_path))
    for digest in (ONE.digest, served().referrer.digest, *ONE.blobs):
        assert digest_of((layout / "blobs/sha256" / digest[7:]).read_bytes()) == digest


def test_it_says_what_it_serves_and_ends_when_told(cli: Cli) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with serving(cli, ARCHIVE, *TRUST) as running:
            assert [image["name"] for image in running.document["images"]] == [
                f"{running.host}/ceph/ceph:v1",
                f"{running.host}/ceph/ceph:v2",
                f"{running.host}/team/bare:airgap-{served().bare.digest[7:19]}",
            ]
            skopeo(cli.home, "inspect", "--tls-verify=false", f"docker://{running.host}/ceph/ceph:v2")
            status, err = running.stop(number)
        assert status == 0, err
        assert f"podman pull --tls-verify=false {running.host}/ceph/ceph:v1" in err
        assert re.search(r"^stopped   \d requests answered, ", err, re.MULTILINE)
        assert "Traceback" not in err


def test_an_address_that_is_taken_is_told_before_anything_is_read(cli: Cli, registry: Serving) -> None:
    ran = cli.loader("serve", ARCHIVE, *TRUST, "--listen", registry.host).expect(1)
    assert registry.host in ran.three_lines[0]
    assert ran.out == ""


def test_an_older_bundle_is_not_served(cli: Cli) -> None:
    older = served().recipe.change(sequence=3).archive()
    (cli.folder / "older.tar.zst").write_bytes(older)
    with serving(cli, ARCHIVE, *TRUST):
        pass
    assert "sequence 3" in " ".join(cli.loader("serve", "older.tar.zst", *TRUST).expect(3).three_lines)
    cli.loader("serve", "older.tar.zst", *TRUST, "--allow-older").expect(2)
    with serving(cli, "older.tar.zst", *TRUST, "--allow-older", "--reason", "the new one is broken") as running:
        assert running.document["sequence"] == 3


def test_nothing_is_served_that_nobody_trusts(cli: Cli) -> None:
    (cli.folder / "other.pub").write_bytes(make_signer("other").public.pem)
    cli.loader("serve", ARCHIVE, "--trust", "other.pub").expect(3)
    data = bytearray((cli.folder / ARCHIVE).read_bytes())
    data[data.index(BIG[100:164])] ^= 1
    (cli.folder / "damaged.tar.zst").write_bytes(data)
    cli.loader("serve", "damaged.tar.zst", *TRUST).expect(3)


def test_a_byte_that_changes_while_it_is_served_reaches_nobody(cli: Cli) -> None:
    path = cli.folder / ARCHIVE
    with serving(cli, ARCHIVE, *TRUST) as running:
        with path.open("r+b") as stream:
            stream.seek(path.read_bytes().index(BIG[-164:-100]))
            stream.write(b"?")
        copy = ("copy", "--all", INSECURE, f"docker://{running.host}/ceph/ceph:v1", f"dir:{cli.folder / 'copy'}")
        done = run("skopeo", "--insecure-policy", *copy, check=False)
        assert done.returncode != 0
        with contextlib.closing(http.client.HTTPConnection(running.host, timeout=20)) as connection:
            connection.request("GET", f"/v2/ceph/ceph/blobs/{digest_of(BIG)}")
            with pytest.raises(http.client.IncompleteRead) as cut:
                connection.getresponse().read()
        assert BIG.startswith(cut.value.partial)
        # What did not change is served on.
        skopeo(cli.home, "inspect", "--tls-verify=false", f"docker://{running.host}/ceph/ceph:v1")
        _, err = running.stop()
    assert "given up" in err


def test_over_tls(cli: Cli) -> None:
    authority = PrivateAuthority(cli.folder / "tls")
    pair = authority.pair()
    certs = cli.folder / "certs"
    certs.mkdir()
    (certs / "ca.crt").write_bytes(authority.certificate.read_bytes())
    tls = ("--tls-cert", pair.certificate, "--tls-key", pair.key)
    with serving(cli, ARCHIVE, *TRUST, *tls) as running:
        assert running.document["url"] == f"https://{running.host}"
        target = f"dir:{cli.folder / 'copy'}"
        skopeo(cli.home, "copy", "--src-cert-dir", str(certs), f"docker://{running.host}/ceph/ceph:v2", target)
    cli.loader("serve", ARCHIVE, *TRUST, "--tls-cert", pair.certificate).expect(2)
    cli.loader("serve", ARCHIVE, *TRUST, "--tls-cert", pair.certificate, "--tls-key", "none.key").expect(2)


@pytest.mark.parametrize("kind", ["folders", "images"])
def test_straight_from_discs_of_which_one_is_lost(cli: Cli, kind: str) -> None:
    cli.bundler("keygen", "builder", "-o", "keys").expect()
    options = ["--iso"] if kind == "images" else []
    size = ("--volume-size", "4MiB", "--parity", "1", "--key", "keys/builder.key")
    cli.bundler("media", ARCHIVE, "-o", "set", *size, *options).expect()
    (cli.folder / "trust").mkdir()
    (cli.folder / "trust/builder.pub").write_bytes((cli.folder / "builder.pub").read_bytes())
    (cli.folder / "trust/media.pub").write_bytes((cli.folder / "keys/builder.pub").read_bytes())
    discs = sorted(path for path in (cli.folder / "set").iterdir() if re.match(r"[pv]\d\d", path.name))
    assert len(discs) >= 4
    with serving(cli, *discs[:1], *discs[2:], "--trust", "trust") as running:
        target = f"dir:{cli.folder / 'copy'}"
        skopeo(cli.home, "copy", "--all", INSECURE, f"docker://{running.host}/ceph/ceph@{ONE.digest}", target)
        assert (cli.folder / "copy" / digest_of(BIG)[7:]).read_bytes() == BIG
    ran = cli.loader("serve", *discs[:1], *discs[3:], "--trust", "trust").expect(5)
    assert "is not here" in ran.three_lines[0]
