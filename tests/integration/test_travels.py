"""The loader with what a bastion has: the standard library, four pure packages, and the host's openssl."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import full_recipe, make_recipe, make_signer
from tests.support.cli import ROOT
from tests.support.images import make_image, make_layer
from tests.support.sourcerules import PURE_PACKAGES, stdlib_names

# What typer, rich and urllib3 stand on: pure Python as well.
BELOW = {
    "click",
    "shellingham",
    "typing_extensions",
    "markdown_it",
    "mdurl",
    "pygments",
    "annotated_doc",
    "annotationlib",
}
ALLOWED = sorted({*stdlib_names(), *PURE_PACKAGES, *BELOW, "loader", "__main__"})

BASTION = """
import importlib.abc, json, os, pkgutil, sys
allowed = set(json.loads(os.environ["ALLOWED"]))
asked = set()
class Bastion(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in allowed:
            asked.add(top)
            raise ImportError(f"{top} is not on this bastion")
        return None
for name in [name for name in sys.modules if name.partition(".")[0] not in allowed]:
    del sys.modules[name]
sys.meta_path.insert(0, Bastion())
"""
IMPORT_ALL = """
import importlib, loader
names = ["loader", *(found.name for found in pkgutil.walk_packages(loader.__path__, "loader."))]
for name in names:
    importlib.import_module(name)
compiled = sorted(name for name, module in sys.modules.items()
                  if name.partition(".")[0] in allowed - set(sys.builtin_module_names)
                  and str(getattr(module, "__file__", "")).endswith(".so")
                  and "site-packages" in module.__file__ and not name.startswith("tomli"))
print(json.dumps({"names": names, "asked": sorted(asked), "compiled": compiled}))
"""
COMMAND = """
from loader.cli import main
main()
"""


def on_bastion(script: str, *args: object, home: Path) -> subprocess.CompletedProcess[str]:
    """Run ``script`` where nothing else can be imported."""
    home.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", BASTION + script, *map(str, args)],
        env={"ALLOWED": json.dumps(ALLOWED), "PYTHONPATH": str(ROOT), "HOME": str(home), "PATH": os.defpath},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_every_module_of_the_loader_can_be_imported(tmp_path: Path) -> None:
    done = on_bastion(IMPORT_ALL, home=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    files = {path for path in (ROOT / "loader").rglob("*.py") if path.name != "__init__.py"}
    assert len(found["names"]) >= len(files)
    assert found["compiled"] == []
    assert "bundler" not in found["asked"]


@pytest.mark.parametrize("name", ["zstandard", "cryptography", "yaml", "bundler", "pytest"])
def test_the_bastion_has_nothing_else(name: str, tmp_path: Path) -> None:
    done = on_bastion(f"import {name}\n", home=tmp_path / "home")
    assert done.returncode == 1
    assert f"{name} is not on this bastion" in done.stderr


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    key = tmp_path / "builder.pub"
    key.write_bytes(make_signer("builder").public.pem)
    return key


def verify(archive: Path, trust: Path, *args: str) -> subprocess.CompletedProcess[str]:
    home = archive.parent / "home"
    return on_bastion(COMMAND, "verify", archive, "--trust", trust, "--json", *args, home=home)


@pytest.mark.parametrize("crypto", ["auto", "openssl"])
def test_a_bundle_of_compressed_layers_is_verified(crypto: str, tmp_path: Path, trust: Path) -> None:
    recipe = make_recipe([make_image(layers=[make_layer("big", 2**21)])])
    archive = tmp_path / "demo-1.tar.zst"
    archive.write_bytes(recipe.archive())
    done = verify(archive, trust, "--crypto", crypto)
    assert done.returncode == 0, done.stderr
    assert recipe.head.id in done.stdout


def test_a_bundle_that_nobody_trusted_signed_is_refused(tmp_path: Path, trust: Path) -> None:
    archive = tmp_path / "demo-1.tar.zst"
    archive.write_bytes(make_recipe([make_image()], signers=[make_signer("stranger")]).archive())
    done = verify(archive, trust)
    assert done.returncode == 3
    assert "no trusted key signed this bundle" in done.stderr


def test_a_bundle_with_compressed_frames_is_verified_by_the_host_s_zstd(tmp_path: Path, trust: Path) -> None:
    archive = tmp_path / "demo-1.tar.zst"
    archive.write_bytes(full_recipe().archive())
    done = verify(archive, trust)
    assert done.returncode == 0, done.stderr
    assert full_recipe().head.id in done.stdout


def test_a_backend_that_is_not_there_is_a_usage_error(tmp_path: Path, trust: Path) -> None:
    archive = tmp_path / "demo-1.tar.zst"
    archive.write_bytes(make_recipe([make_image()]).archive())
    done = verify(archive, trust, "--crypto", "cryptography")
    assert done.returncode == 2
    assert "cryptography" in done.stderr
