"""What an auditor asks of a bastion: what was imported, who signed it, what changed since."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.bundles import make_recipe, make_signer
from tests.support.carried import Carried, carry
from tests.support.cli import Cli
from tests.support.images import make_image
from tests.support.programs import program
from tests.support.registry import RegistryServer


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> Carried:
    return carry(Cli(tmp_path_factory.mktemp("carried")), {"team/app:v1": make_image(platforms=["linux/amd64"])})


def test_what_was_imported_is_told_without_bundle_registry_or_key(carried: Carried) -> None:
    state = carried.cli.folder / "kept"
    with RegistryServer() as registry:
        carried.push(registry, "--state", state).expect()
    for path in carried.cli.folder.glob("out/*"):
        path.rename(path.with_name(f"gone-{path.name}"))
    ran = carried.cli.loader("history", "carried", "--state", state).expect()
    assert "push carried 1, sequence" in ran.out
    assert "signed  builder sha256:" in ran.out
    found = carried.cli.loader("history", "--state", state, "--json").expect().json["loads"]
    (load,) = found
    assert (load["intact"], load["load"]["state"], load["load"]["registry"]) == (True, "complete", registry.host)
    assert [(image["source"].rpartition("/")[2], image["tag"]) for image in load["images"]] == [("app", "v1")]
    folder = Path(load["folder"])
    line = ["dgst", "-sha256", "-verify", "keys/builder.pub", "-signature", "SHA256SUMS.builder.sig", "SHA256SUMS"]
    assert subprocess.check_output([program("openssl"), *line], cwd=folder) == b"Verified OK\n"
    reset = ("trust", "reset-sequence", "carried", "--state", state, "--reason", "the key ceremony", "--json")
    forgotten = carried.cli.loader(*reset).expect().json["forgotten"]
    assert [(one["name"], one["sequence"]) for one in forgotten] == [("carried", load["load"]["sequence"])]
    ran = carried.cli.loader("history", "carried", "--state", state).expect()
    assert "reset-sequence carried: " in ran.out
    assert "the key ceremony" in ran.out
    (row,) = carried.cli.loader("history", "--state", state, "--json").expect().json["resets"]
    assert (row["name"], row["reason"]) == ("carried", "the key ceremony")
    (state / "sequences.json").write_text("{")
    ran = carried.cli.loader("history", "--state", state).expect()
    assert "DAMAGED" in ran.out
    assert "push carried 1, sequence" in ran.out
    none = carried.cli.loader("history", "other", "--state", state).expect()
    assert "no load of other" in none.out


def test_who_only_reads_is_told_of_an_older_bundle(tmp_path: Path) -> None:
    images = {"team/app:v1": make_image(platforms=["linux/amd64"])}
    older = carry(Cli(tmp_path), images)
    newer = carry(Cli(tmp_path), images, version="2")
    state = tmp_path / "kept"
    with RegistryServer() as registry:
        newer.push(registry, "--state", state).expect()
    ours = (older.archive, "--trust", "builder.pub", "--state", state)
    assert "replay    OLDER than what was imported here" in older.cli.loader("verify", *ours).expect().out
    assert "replay    OLDER than what was imported here" in older.cli.loader("inspect", *ours).expect().out
    assert older.cli.loader("inspect", *ours, "--json").expect().json["replay"].startswith("OLDER")
    assert "replay    OLDER than what was imported here" in older.cli.loader("extract", *ours, "-o", "x").expect().err
    assert older.cli.loader("inspect", older.archive, "--json").expect().json["replay"] is None
    # What cannot be read here (another user's home, say) is no fault of the bundle.
    (state / "sequences.json").write_text("{")
    for verb in ("verify", "inspect"):
        assert "replay    NOT KNOWN, sequence" in older.cli.loader(verb, *ours).expect().out


def test_what_changed_since_the_last_one(tmp_path: Path) -> None:
    old = make_recipe([make_image(name="a"), make_image(name="b")], sequence=1)
    new = make_recipe([make_image(name="c")], sequence=2, signers=[make_signer("stranger")])
    for name, recipe in (("old.tar.zst", old), ("new.tar.zst", new)):
        (tmp_path / name).write_bytes(recipe.archive())
    (tmp_path / "builder.pub").write_bytes(make_signer("builder").public.pem)
    cli = Cli(tmp_path)
    command = ("inspect", "new.tar.zst", "--diff", "old.tar.zst", "--trust", "builder.pub")
    ran = cli.loader(*command).expect()
    assert "docker.io/apps/app1:v1 is no longer shipped" in ran.out
    assert "UNVERIFIED" in ran.out
    diff = cli.loader(*command, "--json").json["diff"]
    assert diff["verified"] == {"from": True, "to": False}
    assert [row["image"] for row in diff["images"]["changed"]] == ["docker.io/apps/app0:v1"]
    assert diff["signers"] == {"added": ["stranger"], "removed": ["builder"]}
