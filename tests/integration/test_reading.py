"""``verify``, ``inspect`` and ``extract`` from outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest

from tests.support import article
from tests.support.bundles import ARCHIVE, full_recipe, make_signer
from tests.support.cli import ROOT, Cli, tree
from tests.support.discs import bundle_set
from tests.support.registry import RegistryServer
from tests.support.setfolder import write_discs


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    with RegistryServer() as source:
        article.put_images(source.store)
        return article.build(Cli(folder), source.host)


@pytest.fixture
def cli(built: Path, tmp_path: Path) -> Cli:
    (tmp_path / "builder.pub").write_bytes((built.parent.parent / "builder.pub").read_bytes())
    return Cli(tmp_path)


def test_verify_says_one_line_a_check_and_writes_nothing(built: Path, cli: Cli) -> None:
    cli.home.mkdir()
    before = tree(cli.folder)
    ran = cli.loader("verify", built, "--trust", "builder.pub").expect()
    steps = [line.split()[0] for line in ran.out.splitlines()]
    assert steps == ["head", "signature", "manifest", "graph", "policy", "content", "end", "replay"]
    assert ran.err == ""
    assert tree(cli.folder) == before


def test_verify_as_json_and_as_a_report(built: Path, cli: Cli) -> None:
    verdict = cli.loader("verify", built, "--trust", "builder.pub", "--json", "--report", "evidence").expect().json
    assert verdict["verified"] is True
    assert len(verdict["images"]) == 8
    assert verdict["images"][0]["platforms"] == ["linux/amd64", "linux/arm64"]
    assert verdict["signers"][0]["name"] == "builder"
    assert json.loads((cli.folder / "evidence/rook-ceph-2020.10.verify.json").read_text()) == verdict
    page = (cli.folder / "evidence/rook-ceph-2020.10.verify.html").read_text()
    assert verdict["id"] in page
    assert "http" not in page.partition("</head>")[0]


def test_the_two_backends_agree(built: Path, cli: Cli) -> None:
    cli.bundler("keygen", "other").expect()
    for crypto in ("openssl", "cryptography"):
        cli.loader("verify", built, "--trust", "builder.pub", "--crypto", crypto).expect()
        cli.loader("verify", built, "--trust", "other.pub", "--crypto", crypto).expect(3)


def test_trust_is_found_in_its_places(built: Path, cli: Cli) -> None:
    cli.loader("verify", built).expect(3)
    folder = cli.home / ".config/airgap-loader/trust"
    folder.mkdir(parents=True)
    (folder / "builder.pub").write_bytes((cli.folder / "builder.pub").read_bytes())
    cli.loader("verify", built).expect()
    nowhere = str(cli.folder / "nowhere")
    refused = Cli(cli.folder, {"AIRGAP_TRUST": nowhere}).loader("verify", built).expect(3).three_lines
    assert f"there is no {nowhere}" in refused[1]
    (folder / "policy.toml").write_text("threshold = 2\n")
    cli.loader("verify", built).expect(2)


def test_a_second_signature_counts_for_the_policy(built: Path, cli: Cli) -> None:
    (cli.folder / "out").mkdir()
    bundle = cli.folder / "out" / built.name
    bundle.write_bytes(built.read_bytes())
    cli.bundler("keygen", "approver").expect()
    trust = cli.folder / "trust"
    trust.mkdir()
    for name in ("builder", "approver"):
        (trust / f"{name}.pub").write_bytes((cli.folder / f"{name}.pub").read_bytes())
    (trust / "policy.toml").write_text('threshold = 2\nrequired = ["approver"]\n')
    assert "approver" in " ".join(cli.loader("verify", bundle, "--trust", trust).expect(3).three_lines)
    head = cli.folder / "head"
    head.mkdir()
    subprocess.run(["tar", "-xf", built.parent / "rook-ceph-2020.10.head.tar", "-C", head], check=True)
    made = cli.folder / "approver.sig"
    sign = ["openssl", "dgst", "-sha256", "-sign", cli.folder / "approver.key", "-out", made, head / "SHA256SUMS"]
    subprocess.run(list(map(str, sign)), check=True)
    assert "adds nothing" not in cli.loader("verify", bundle, "--trust", trust, "--signature", made).expect().out
    other = cli.folder / "other.sig"
    other.write_bytes(made.read_bytes()[::-1])
    both = cli.loader("verify", bundle, "--trust", trust, "--signature", made, "--signature", other.name).expect()
    assert "--signature other.sig adds nothing" in both.out
    args = ["--signer", "approver", "--public-key", "approver.pub"]
    cli.bundler("attach-signature", bundle, "builder.pub", *args).expect(3)
    cli.bundler("attach-signature", bundle, made, *args).expect()
    assert "2 of 2" in cli.loader("verify", bundle, "--trust", trust).expect().out


def test_a_reader_that_goes_away_does_not_change_the_verdict(built: Path, cli: Cli) -> None:
    damaged = cli.folder / "damaged.tar.zst"
    data = bytearray(built.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    for archive, status in ((built, 0), (damaged, 3)):
        reading, writing = os.pipe()
        os.close(reading)  # as behind `| head` or `| grep -q`, which have seen enough
        command = cli.command("airgap-loader", "verify", archive, "--trust", "builder.pub", "--report", f"r{status}")
        done = subprocess.run(command, cwd=cli.folder, env=cli.variables(), stdout=writing, stderr=subprocess.PIPE)
        os.close(writing)
        assert done.returncode == status, done.stderr
        assert (cli.folder / f"r{status}").is_dir()


def test_streams_that_are_closed_do_not_change_the_verdict(built: Path, cli: Cli) -> None:
    for closed in (">&-", "2>&-", "<&-", ">&- 2>&- <&-"):
        typed = f'exec "$@" {closed}'
        command = cli.command("airgap-loader", "verify", built, "--trust", "builder.pub")
        done = subprocess.run(
            ["sh", "-c", typed, "sh", *command], cwd=cli.folder, env=cli.variables(), capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_of_few_letters_does_not_change_the_verdict(built: Path, cli: Cli) -> None:
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = cli.command("airgap-loader", "verify", built, "--trust", "builder.pub")
    done = subprocess.run(command, cwd=cli.folder, env={**cli.variables(), **plain}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u2026" in done.stdout


def test_inspect_judges_a_list_that_stands_alone(built: Path, cli: Cli) -> None:
    head = built.with_name("rook-ceph-2020.10.head.tar")
    found = cli.loader("inspect", head, "--trust", "builder.pub", "--json").expect().json
    assert (found["verified"], found["why"]) == (True, None)
    cli.bundler("keygen", "stranger").expect()
    found = cli.loader("inspect", head, "--trust", "stranger.pub", "--json").expect().json
    assert (found["verified"], "no trusted key signed" in found["why"]) == (False, True)
    ran = cli.loader("inspect", head, "--trust", "builder.pub", "--documents").expect(2)
    assert "has the list alone" in ran.three_lines[0]


@pytest.mark.parametrize("verb", ["verify", "push"])
def test_a_head_alone_is_named_as_what_it_is(built: Path, cli: Cli, verb: str) -> None:
    head = built.with_name("rook-ceph-2020.10.head.tar")
    lines = cli.loader(verb, head, "--trust", "builder.pub").expect(4).three_lines
    assert "head alone" in lines[0]
    assert "give the archive" in lines[-1]


def test_inspect_says_loudly_that_nobody_vouched(built: Path, cli: Cli) -> None:
    ran = cli.loader("inspect", built).expect()
    assert ran.out.startswith("UNVERIFIED")
    shown = cli.loader("inspect", built, "--json").expect().json
    assert shown["verified"] is False
    assert [image["source"] for image in shown["images"]][:2] == ["docker.io/ceph/ceph", "docker.io/rook/ceph"]
    cli.loader("inspect", built, "--documents").expect(2)
    trusted = cli.loader("inspect", built, "--trust", "builder.pub", "--json", "--documents").expect().json
    assert trusted["verified"] is True
    assert "ImageDigestMirrorSet" in trusted["documentTexts"]["documents/mirrors/idms.yaml"]
    cli.loader("inspect", cli.folder / "builder.pub").expect(4)


def test_extract_gives_layouts_that_skopeo_reads(built: Path, cli: Cli) -> None:
    cli.loader("extract", built, "-o", "all", "--trust", "builder.pub").expect()
    folders = sorted((cli.folder / "all/images").iterdir())
    assert len(folders) == 8
    for folder in folders:
        copy = ["skopeo", "copy", "--insecure-policy", "--all", f"dir:{folder}", f"dir:{cli.folder / 'copy'}"]
        subprocess.run(copy, check=True, capture_output=True)
    shared = [path for path in (cli.folder / "all").rglob("*") if path.is_file() and path.stat().st_nlink >= 8]
    assert shared, "the base layer of all images is one file"
    # The same again finds it all there, and goes on where one was stopped; other files are nothing to build on.
    shutil.rmtree(folders[3])
    cli.loader("extract", built, "-o", "all", "--trust", "builder.pub").expect()
    assert sorted((cli.folder / "all/images").iterdir()) == folders
    (folders[0] / "manifest.json").write_bytes(b"{}")
    cli.loader("extract", built, "-o", "all", "--trust", "builder.pub").expect(1)


def test_extract_one_image_or_the_documents(built: Path, cli: Cli) -> None:
    cli.loader("extract", built, "-o", "one", "--trust", "builder.pub", "--image", "*/csi-attacher:*").expect()
    assert [path.name for path in (cli.folder / "one/images").iterdir()] == ["0007-csi-attacher"]
    cli.loader("extract", built, "-o", "none", "--trust", "builder.pub", "--image", "nothing").expect(2)
    for registry in ("", "site"):
        args = ["--documents", "--registry", registry]
        cli.loader("extract", built, "-o", "none", "--trust", "builder.pub", *args).expect(2)
    args = ["--documents", "--registry", "other.example:5000/mirror"]
    ran = cli.loader("extract", built, "-o", "docs", "--trust", "builder.pub", *args).expect()
    lines = [line for line in ran.out.splitlines() if line.startswith("oc ")]
    assert lines[0] == "oc apply --server-side --field-manager=airgap-loader -f documents/mirrors/idms.yaml"
    assert lines[-1].startswith("oc -n rook-ceph patch cephcluster.ceph.rook.io/rook-ceph --type=merge")
    assert "other.example:5000/mirror/ceph" in (cli.folder / "docs/documents/mirrors/idms.yaml").read_text()
    assert not (cli.folder / "docs/images").exists()


def test_extract_of_a_damaged_bundle_leaves_nothing(built: Path, cli: Cli) -> None:
    data = bytearray(built.read_bytes())
    data[data.index(b"\x1f\x8b\x08") + 40] ^= 1  # inside the first layer, which is gzip
    (cli.folder / "damaged.tar.zst").write_bytes(data)
    cli.loader("extract", "damaged.tar.zst", "-o", "all", "--trust", "builder.pub").expect(3)
    assert not (cli.folder / "all").exists()


def test_version_as_text_and_json(cli: Cli) -> None:
    for program in ("airgap-loader", "airgap-bundler"):
        assert cli.run(program, "--version").expect().out.startswith(f"{program} 0.")
        assert cli.run(program, "--version", "--json").expect().json["program"] == program
    assert len(cli.loader("--version", "--json").json["sha256"]) == 64


@pytest.mark.parametrize("form", ["archive", "head", "disc"])
def test_the_page_of_a_bundle_alone(form: str, built: Path, cli: Cli) -> None:
    bundle = built
    if form == "head":
        bundle = built.with_name("rook-ceph-2020.10.head.tar")
    elif form == "disc":
        cli.bundler("media", built, "-o", "set", "--volume-size", "40MiB").expect()
        bundle = cli.folder / "set/v01"
    cli.bundler("report", bundle, "-o", "page.html").expect()
    page = (cli.folder / "page.html").read_text()
    digest = cli.loader("inspect", built, "--json").expect().json["images"][0]["digest"]
    assert digest in page
    assert "no: airgap-loader verify does" in page


def test_a_page_of_what_is_no_bundle(cli: Cli) -> None:
    (cli.folder / "page.txt").write_text("nothing\n")
    cli.bundler("report", "page.txt", "-o", "page.html").expect(4)
    assert not (cli.folder / "page.html").exists()


def test_the_verdict_has_the_form_of_its_schema(tmp_path: Path) -> None:
    schema = json.loads((ROOT / "schemas/verify-report.v1.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    (tmp_path / "builder.pub").write_bytes(make_signer("builder").public.pem)
    (tmp_path / ARCHIVE).write_bytes(full_recipe().archive())
    write_discs(tmp_path / "set", bundle_set(), "v01", "v03", "p01")
    for number, source in enumerate([ARCHIVE, "set"]):
        folder = f"report{number}"
        ran = Cli(tmp_path).loader("verify", source, "--trust", "builder.pub", "--report", folder, "--json").expect()
        written = json.loads((tmp_path / folder / "demo-1.verify.json").read_text())
        assert written == ran.json
        assert [error.message for error in validator.iter_errors(written)] == []
        for name in schema["required"]:
            assert not validator.is_valid({key: value for key, value in written.items() if key != name}), name


def test_a_refusal_leaves_evidence_too(tmp_path: Path) -> None:
    (tmp_path / "stranger.pub").write_bytes(make_signer("stranger").public.pem)
    hostile = "<b>demo-1\x1b[2J.tar.zst"
    (tmp_path / hostile).write_bytes(full_recipe().archive())
    ran = Cli(tmp_path).loader("verify", hostile, "--trust", "stranger.pub", "--report", "evidence")
    assert ran.status == 3, ran.err
    paths = {path.suffix: path for path in (tmp_path / "evidence").iterdir()}
    assert sorted(path.name for path in paths.values()) == ["_b_demo-1_2J.refused.html", "_b_demo-1_2J.refused.json"]
    found = json.loads(paths[".json"].read_text())
    assert (found["verified"], found["error"]["code"]) == (False, 3)
    schema = json.loads((ROOT / "schemas/refusal.v1.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    assert [error.message for error in validator.iter_errors(found)] == []
    for name in schema["required"]:
        assert not validator.is_valid({key: value for key, value in found.items() if key != name}), name
    assert found["keysTried"] == [{"fingerprint": make_signer("stranger").public.fingerprint, "name": "stranger"}]
    assert found["error"]["message"] == "no trusted key signed this bundle"
    page = paths[".html"].read_text()
    assert "no trusted key signed this bundle" in page
    assert "\x1b" not in page + ran.err
    assert "<b>demo" not in page
