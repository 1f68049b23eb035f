"""The one-file loader on a host as it is: a bare Debian, nobody's rights, nothing writable, nothing executable."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from release import pyz
from tests.support.bastion import Bastion, bastion_root
from tests.support.bundles import full_recipe, make_signer
from tests.support.registry import RegistryServer

LOADER = ("python3", "/media/airgap-loader.pyz")
BUNDLE = ("/media/demo-1.tar.zst", "--trust", "/media/builder.pub")


@pytest.fixture(scope="module")
def medium(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("medium")
    pyz.make(folder)
    (folder / "demo-1.tar.zst").write_bytes(full_recipe().archive())
    (folder / "builder.pub").write_bytes(make_signer("builder").public.pem)
    for path in [*folder.parents, folder]:
        if path.stat().st_uid == folder.stat().st_uid and path.parts[1:2] == ("tmp",) and len(path.parts) > 2:
            path.chmod(0o755)
    return folder


@pytest.fixture
def bastion(medium: Path) -> Bastion:
    return Bastion(bastion_root(), medium)


@pytest.fixture
def with_state(medium: Path, tmp_path: Path) -> Bastion:
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    return Bastion(bastion_root(), medium, state)


def test_it_is_bare(bastion: Bastion) -> None:
    for name in ("zstandard", "cryptography", "yaml", "typer", "pip"):
        assert bastion.run("python3", "-c", f"import {name}").returncode == 1
    assert bastion.run("sh", "-c", "touch /tmp/a || touch /home/a || touch /media/a || touch /a").returncode != 0
    assert "ermission denied" in bastion.run("/media/airgap-loader.pyz", "--version").stderr


def test_verify_needs_nothing_writable(bastion: Bastion) -> None:
    done = bastion.run(*LOADER, "verify", *BUNDLE)
    assert done.returncode == 0, done.stderr
    assert full_recipe().head.id in done.stdout


def test_its_version_is_the_hash_an_officer_sees(bastion: Bastion) -> None:
    told = bastion.run(*LOADER, "--version", "--json")
    seen = bastion.run("sha256sum", "/media/airgap-loader.pyz")
    assert json.loads(told.stdout)["sha256"] == seen.stdout.split()[0]


def test_a_push_with_no_place_for_its_state_says_so(bastion: Bastion) -> None:
    with RegistryServer() as registry:
        done = bastion.run(*LOADER, "push", *BUNDLE, "--registry", registry.host, "--plain-http")
        assert registry.store.tags == {}
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("  next: ")
    assert "Traceback" not in done.stderr
    assert "/home/operator" in done.stderr


def test_a_push_with_its_state_elsewhere_works(with_state: Bastion) -> None:
    places = ("--state", "/mnt/state", "--report", "/mnt/report")
    with RegistryServer() as registry:
        done = with_state.run(*LOADER, "push", *BUNDLE, "--registry", registry.host, "--plain-http", *places)
        assert done.returncode == 0, done.stderr
        assert registry.store.tags


def test_extract_works_from_a_read_only_medium(with_state: Bastion) -> None:
    done = with_state.run(*LOADER, "extract", *BUNDLE, "-o", "/mnt/out")
    assert done.returncode == 0, done.stderr
    assert with_state.writable is not None
    assert list((with_state.writable / "out").rglob("manifest.json"))


def test_a_loader_that_was_changed_has_another_hash(medium: Path, tmp_path: Path) -> None:
    folder = tmp_path / "medium"
    shutil.copytree(medium, folder)
    with (folder / "airgap-loader.pyz").open("r+b") as file:
        file.write(b"#!/usr/bin/env python3 \n"[:22])
        file.seek(0, 2)
        file.write(b"\n")
    changed = Bastion(bastion_root(), folder).run(*LOADER, "--version", "--json")
    unchanged = Bastion(bastion_root(), medium).run(*LOADER, "--version", "--json")
    assert json.loads(changed.stdout)["sha256"] != json.loads(unchanged.stdout)["sha256"]
