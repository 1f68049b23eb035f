"""Delta bundles: what the base has stays at home, and nothing is sent before all of it is found."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from loader.bundle.digest import digest_of
from tests.support.carried import Carried, carry
from tests.support.cli import Cli
from tests.support.images import MadeImage, make_image, make_layer
from tests.support.programs import skopeo
from tests.support.registry import RegistryServer
from tests.support.serving import serving

BASE = make_layer("base", 3_000_000)
OLD = {
    "team/one:v1": make_image(name="one", layers=[BASE]),
    "team/two:v1": make_image(name="two", layers=[make_layer("own", 2_000_000)]),
}
NEW = {**OLD, "team/one:v1": make_image(name="newer", layers=[BASE], oci_types=True)}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Carried, Carried]:
    """A bundle, and the delta on it that moves a tag."""
    cli = Cli(tmp_path_factory.mktemp("delta"))
    old = carry(cli, OLD)
    head = old.archive.with_name("carried-1.head.tar")
    return old, carry(cli, NEW, "--base", head, "--trust", "builder.pub", version="2")


def new_blobs(images: dict[str, MadeImage]) -> set[str]:
    before = {digest for image in OLD.values() for digest in image.blobs}
    return {digest for image in images.values() for digest in image.blobs} - before


def test_a_delta_carries_only_what_is_new(pair: tuple[Carried, Carried]) -> None:
    old, delta = pair
    assert delta.archive.stat().st_size < old.archive.stat().st_size / 20
    told = f"delta     builds on the bundle of id {old.id}; the registry has to have "
    for verb in ("verify", "inspect"):
        assert told in delta.cli.loader(verb, delta.archive, "--trust", "builder.pub").expect().out
        assert "builds on" not in old.cli.loader(verb, old.archive, "--trust", "builder.pub").expect().out


def test_the_archive_itself_is_as_good_a_base(pair: tuple[Carried, Carried], tmp_path: Path) -> None:
    old, delta = pair
    cli = Cli(tmp_path)
    for name in ("builder.key", "builder.pub"):
        (tmp_path / name).write_bytes((old.cli.folder / name).read_bytes())
    again = carry(cli, NEW, "--base", old.archive, "--trust", "builder.pub", version="2")
    assert again.archive.stat().st_size == delta.archive.stat().st_size


def test_a_plan_says_what_it_builds_on(pair: tuple[Carried, Carried]) -> None:
    old, delta = pair
    lines = delta.cli.bundler("plan", delta.archive).expect().out.splitlines()
    assert any(line.startswith("delta ") and old.id in line for line in lines)
    head = old.archive.with_name(old.archive.name.replace(".tar.zst", ".head.tar"))
    assert "head alone" in old.cli.bundler("plan", head).expect(2).three_lines[0]


def test_a_delta_onto_its_base(pair: tuple[Carried, Carried]) -> None:
    old, delta = pair
    with RegistryServer() as registry:
        old.push(registry).expect()
        before = len(registry.store.stored)
        ran = delta.push(registry).expect()
        assert "digests confirmed" in ran.out
        assert all(delta.arrived(registry, name) for name in NEW)
        sent = {digest for _, digest in registry.store.stored[before:] if digest.startswith("sha256:")}
        manifests = {digest for image in NEW.values() for digest, _, _ in image.manifests}
        assert sent - manifests == new_blobs(NEW)
        assert registry.store.incomplete == []


def test_what_is_missing_is_named_before_anything_is_sent(pair: tuple[Carried, Carried]) -> None:
    old, delta = pair
    with RegistryServer() as registry:
        ran = delta.push(registry).expect(6)
        text = " ".join(ran.three_lines)
        assert old.id[:12] in text
        missing = {digest for image in OLD.values() for digest in image.blobs} & {
            digest for image in NEW.values() for digest in image.blobs
        }
        assert all(digest in text for digest in missing)
        assert not any(digest in text for digest in new_blobs(NEW))
        assert "team/two" in text
        assert {one.method for one in registry.requests} == {"GET", "HEAD"}
        dry = delta.push(registry, "--dry-run").expect(6)
        assert "missing" in " ".join(dry.three_lines)


RENAMED = {"other/one:v1": NEW["team/one:v1"], "team/two:v1": OLD["team/two:v1"]}


@pytest.fixture(scope="module")
def renamed(pair: tuple[Carried, Carried]) -> Carried:
    """A delta whose image stands in another repository than the base's blobs."""
    old, _ = pair
    return carry(old.cli, RENAMED, "--base", old.archive, "--trust", "builder.pub", version="3")


@pytest.mark.parametrize("mounts", [True, False], ids=["mounted", "copied"])
def test_blobs_come_from_the_repository_that_has_them(
    pair: tuple[Carried, Carried], renamed: Carried, mounts: bool
) -> None:
    old, _ = pair
    with RegistryServer() as registry:
        old.push(registry).expect()
        registry.rules.mounts = mounts
        ran = renamed.push(registry).expect()
        assert all(renamed.arrived(registry, name) for name in RENAMED)
        assert registry.store.incomplete == []
        assert ("1 mounted" in ran.out) == mounts
        assert ("1 copied" in ran.out) == (not mounts)
        got = registry.seen("GET", digest_of(BASE))
        assert [one.path.split("/blobs/")[0] for one in got] == ([] if mounts else ["/v2/team/one"])


def test_a_copy_that_is_not_what_it_says_is_refused(pair: tuple[Carried, Carried], renamed: Carried) -> None:
    old, _ = pair
    with RegistryServer() as registry:
        old.push(registry).expect()
        registry.rules.mounts = False
        registry.fail("corrupt", path=f"/blobs/{digest_of(BASE)}", times=99)
        text = " ".join(renamed.push(registry).expect(6).three_lines)
        assert digest_of(BASE) in text
        assert ("other/one", "v1") not in registry.store.tags


def test_a_base_as_its_two_files_and_their_signature(pair: tuple[Carried, Carried], tmp_path: Path) -> None:
    old, delta = pair
    head, disc = tmp_path / "head", tmp_path / "v01"
    head.mkdir()
    subprocess.run(["tar", "-xf", old.archive.with_name("carried-1.head.tar"), "-C", head], check=True)
    assert sorted(one.name for one in head.iterdir()) == ["SHA256SUMS", "SHA256SUMS.builder.sig", "bundle.json"]
    (disc / "bundle").mkdir(parents=True)
    for one in head.iterdir():
        (disc / "bundle" / one.name).write_bytes(one.read_bytes())
    cli = delta.cli
    config = (cli.folder / "bundle.yaml").read_text()
    planned = ("build", "bundle.yaml", "--key", "builder.key", "--plain-http", "--json", "--trust", "builder.pub")
    with RegistryServer() as source:
        for name, image in NEW.items():
            repository, _, tag = name.rpartition(":")
            image.put(source.store, repository, tag)
        listed = "".join(f"- {source.host}/{name}\n" for name in NEW)
        (cli.folder / "bundle.yaml").write_text(f'name: f\nversion: "1"\nregistry: r:5000\nimages:\n{listed}')
        ids: set[str] = set()
        for base in (head, disc, head / "bundle.json", old.archive):
            out = tmp_path / f"out-{len(ids)}-{base.name}"
            cli.bundler(*planned, "-o", out, "--base", base).expect()
            found = cli.loader("inspect", out / "f-1.tar.zst", "--trust", "builder.pub", "--json").expect().json
            ids.add(found["base"])
        assert ids == {cli.loader("inspect", old.archive, "--trust", "builder.pub", "--json").expect().json["id"]}
        (head / "SHA256SUMS.builder.sig").unlink()
        assert "no trusted key" in cli.bundler(*planned, "-o", out, "--base", head).expect(3).three_lines[0]
        (head / "bundle.json").unlink()
        assert "bundle.json" in cli.bundler(*planned, "-o", out, "--base", head).expect(2).three_lines[1]
    (cli.folder / "bundle.yaml").write_text(config)


@pytest.mark.parametrize("suffix", [".tar.zst", ".head.tar"])
def test_a_base_that_nobody_trusted_signed_is_refused(
    pair: tuple[Carried, Carried], tmp_path: Path, suffix: str
) -> None:
    old, _ = pair
    cli = Cli(tmp_path)
    cli.bundler("keygen", "builder").expect()
    base = old.archive.with_name(f"carried-1{suffix}")
    with RegistryServer() as source:
        OLD["team/one:v1"].put(source.store, "team/one", "v1")
        text = f'name: a\nversion: "1"\nregistry: r:5000\nimages: ["{source.host}/team/one:v1"]\n'
        (tmp_path / "bundle.yaml").write_text(text)
        build = ("build", "bundle.yaml", "-o", "out", "--key", "builder.key", "--plain-http", "--base", base)
        assert "no trusted key" in cli.bundler(*build, "--trust", "builder.pub").expect(3).three_lines[0]
        assert "--trust" in " ".join(cli.bundler(*build[:-2], "--trust", "builder.pub").expect(2).three_lines)
        torn = tmp_path / f"torn{suffix}"
        torn.write_bytes(base.read_bytes()[:-700])
        trusted = old.cli.folder / "builder.pub"
        if suffix == ".head.tar":
            assert "torn" in cli.bundler(*build[:-1], torn, "--trust", trusted).expect(4).three_lines[0]
            torn.write_bytes(base.read_bytes() + b"more")
            assert "head alone" in cli.bundler(*build[:-1], torn, "--trust", trusted).expect(4).three_lines[0]
    assert not (tmp_path / "out").exists()


def test_a_delta_on_a_delta_requires_what_both_left_at_home(pair: tuple[Carried, Carried]) -> None:
    old, delta = pair
    third = {**NEW, "team/three:v1": make_image(name="three", layers=[BASE])}
    last = carry(delta.cli, third, "--base", delta.archive, "--trust", "builder.pub", version="4")
    with RegistryServer() as registry:
        for one in (old, delta, last):
            one.push(registry).expect()
        assert all(last.arrived(registry, name) for name in third)
    # The one in between is not missed where its blobs are there.
    with RegistryServer() as registry:
        old.push(registry).expect()
        for name, image in NEW.items():
            image.put(registry.store, name.rpartition(":")[0])
        last.push(registry).expect()
        assert all(last.arrived(registry, name) for name in third)


def test_a_registry_that_lies_about_what_a_delta_builds_on(pair: tuple[Carried, Carried]) -> None:
    old, delta = pair
    with RegistryServer() as registry:
        registry.rules.ghosts = {digest for image in OLD.values() for digest in image.blobs}
        assert "give what this delta builds on as further SOURCEs" in delta.push(registry).expect(6).three_lines[2]
        assert registry.store.tags == {}
        delta.push(registry, old.archive).expect()
        assert all(delta.arrived(registry, name) for name in NEW)


def test_further_archives_fill_a_delta_up(pair: tuple[Carried, Carried], tmp_path: Path) -> None:
    old, delta = pair
    with RegistryServer() as registry:
        # In any order, and with no base in the registry.
        first, second = (old.archive, delta.archive)
        arguments = delta.arguments(registry, "push")
        arguments[1:2] = [first, second]
        ran = delta.cli.loader(*arguments).expect()
        assert "digests confirmed" in ran.out
        assert all(delta.arrived(registry, name) for name in NEW)
        assert registry.store.tags["team/one", "v1"] == NEW["team/one:v1"].digest
        assert registry.store.incomplete == []
    sources = (delta.archive, old.archive)
    trust = ("--trust", "builder.pub")
    delta.cli.loader("extract", *sources, *trust, "-o", tmp_path / "out").expect()
    for number, (name, image) in enumerate(NEW.items()):
        folder = tmp_path / "out/images" / f"{number:04d}-{name.partition('/')[2].partition(':')[0]}"
        for digest, data in image.blobs.items():
            assert (folder / digest[7:]).read_bytes() == data


def test_the_newest_of_several_deltas_is_the_one_to_load(pair: tuple[Carried, Carried]) -> None:
    """The one in between was loaded and is at hand no more; an older delta still fills a gap up."""
    old, delta = pair
    third = {**NEW, "team/three:v1": make_image(name="third", layers=[BASE])}
    between = carry(delta.cli, third, "--base", delta.archive, "--trust", "builder.pub", version="5")
    fourth = {**third, "team/four:v1": make_image(name="fourth", layers=[BASE])}
    last = carry(delta.cli, fourth, "--base", between.archive, "--trust", "builder.pub", version="6")
    with RegistryServer() as registry:
        for one in (old, delta, between):
            one.push(registry).expect()
        lost = new_blobs(NEW)
        registry.store.links -= {(repository, digest) for repository, digest in registry.store.links if digest in lost}
        assert all(digest in " ".join(last.push(registry).expect(6).three_lines) for digest in lost)
        last.push(registry, delta.archive).expect()
        assert all(last.arrived(registry, name) for name in fourth)


def test_sets_of_discs_fill_each_other_up(pair: tuple[Carried, Carried], tmp_path: Path) -> None:
    _, delta = pair
    for name, carried in zip(("base", "delta"), pair):
        size = ("--volume-size", "3MiB", "--key", "builder.key")
        delta.cli.bundler("media", carried.archive, "-o", tmp_path / name, *size).expect()
    discs = sorted(tmp_path.glob("*/v??"))
    assert len(discs) > 2
    with RegistryServer() as registry:
        arguments = delta.arguments(registry, "push")
        arguments[1:2] = [discs[-1], *discs[:-1]]
        delta.cli.loader(*arguments).expect()
        assert all(delta.arrived(registry, name) for name in NEW)
    with RegistryServer() as registry:
        # One of the base is not here: what is left of it is a stray among the discs of the delta.
        arguments[1 : len(discs) + 1] = [discs[-1], *discs[1:-1]]
        arguments[arguments.index("--registry") + 1] = registry.host
        ran = delta.cli.loader(*arguments).expect(6)
        assert "is a disc of another" in ran.out
        assert "that this delta builds on missing" in ran.three_lines[0]


def test_bundles_that_do_not_belong_together(pair: tuple[Carried, Carried], tmp_path: Path) -> None:
    old, _ = pair
    copy = tmp_path / "copy.tar.zst"
    copy.write_bytes(old.archive.read_bytes())
    with RegistryServer() as registry:
        arguments = old.arguments(registry, "push")
        arguments[1:2] = [old.archive, copy]
        assert "2 bundles were given" in old.cli.loader(*arguments).expect(2).three_lines[0]
        assert registry.requests == []


def test_a_delta_is_not_extracted_with_gaps(pair: tuple[Carried, Carried], tmp_path: Path) -> None:
    _, delta = pair
    ran = delta.cli.loader("extract", delta.archive, "--trust", "builder.pub", "-o", tmp_path / "out").expect(2)
    assert "delta" in " ".join(ran.three_lines)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "on_discs",
    [(), ("base",), ("delta",), ("base", "delta")],
    ids=["archives", "base on discs", "delta on discs", "discs"],
)
def test_a_delta_is_served_together_with_its_base(
    pair: tuple[Carried, Carried], tmp_path: Path, on_discs: tuple[str, ...]
) -> None:
    cli = pair[1].cli
    sources: list[object] = []
    for name, carried in zip(("base", "delta"), pair):
        if name in on_discs:
            size = ("--volume-size", "3MiB", "--key", "builder.key")
            cli.bundler("media", carried.archive, "-o", tmp_path / name, *size).expect()
            sources += sorted(tmp_path.glob(f"{name}/v??"))
        else:
            sources.append(carried.archive)
    with serving(cli, *sources, "--trust", "builder.pub", "--state", tmp_path / "state") as running:
        for name, image in NEW.items():
            target = tmp_path / "pulled" / name.partition(":")[0]
            target.parent.mkdir(parents=True, exist_ok=True)
            skopeo(
                tmp_path, "copy", "--all", "--src-tls-verify=false", f"docker://{running.host}/{name}", f"dir:{target}"
            )
            assert all((target / digest[7:]).read_bytes() == data for digest, data in image.blobs.items())


def test_a_delta_alone_is_not_served(pair: tuple[Carried, Carried]) -> None:
    _, delta = pair
    ran = delta.cli.loader("serve", delta.archive, "--trust", "builder.pub").expect(2)
    assert "delta" in " ".join(ran.three_lines)


def test_a_delta_on_discs_by_hand(pair: tuple[Carried, Carried], tmp_path: Path) -> None:
    old, delta = pair
    made = ("--volume-size", "64MiB", "--key", "builder.key", "-o", tmp_path / "set")
    delta.cli.bundler("media", delta.archive, *made).expect()
    disc = tmp_path / "set/v01"
    text = (disc / "README-BY-HAND.txt").read_text("ascii")
    assert "This bundle is a delta" in text
    typed = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    by_hand = [line for line in typed if not line.startswith(("cp ", "skopeo ", "oc ", "#"))]
    script = "\n".join(["set -e", "mkdir base", f"(cd base && zstd -dc {old.archive} | tar -x)", *by_hand])
    script = script.replace("/trusted/builder.pub", str(delta.cli.folder / "builder.pub"))
    for segment in disc.glob("carried-2.v*"):
        (tmp_path / segment.name).write_bytes(segment.read_bytes())
    subprocess.run(["sh"], input=script, cwd=tmp_path, check=True, capture_output=True, text=True)
    for layout in sorted((tmp_path / "unpacked/images").iterdir()):
        skopeo(tmp_path, "copy", "--all", f"dir:{layout}", f"dir:{tmp_path / layout.name}")
