"""The loader as one file: reproducible, small, and the same verdict on every Python that is here."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from release import pyz
from tests.support import article
from tests.support.cli import Cli
from tests.support.registry import RegistryServer
from tests.tools.pythons import found


@pytest.fixture(scope="module")
def one_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    pyz.main(["-o", str(folder)])
    return folder / "airgap-loader.pyz"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with RegistryServer() as source:
        article.put_images(source.store)
        return article.build(Cli(tmp_path_factory.mktemp("bundle")), source.host)


def test_it_is_the_same_bytes_each_time(one_file: Path, tmp_path: Path) -> None:
    pyz.main(["-o", str(tmp_path)])
    assert (tmp_path / "airgap-loader.pyz").read_bytes() == one_file.read_bytes()


def test_it_is_small_and_pure(one_file: Path) -> None:
    assert one_file.stat().st_size < 5_000_000
    with zipfile.ZipFile(one_file) as archive:
        assert not [name for name in archive.namelist() if name.endswith((".so", ".pyd", ".pyc"))]


def test_every_python_found_verifies_and_pushes_with_it(one_file: Path, bundle: Path, tmp_path: Path) -> None:
    pythons = list(found().values())
    assert pythons
    for number, python in enumerate(pythons):
        with RegistryServer() as registry:
            trust = ["--trust", bundle.parent.parent / "builder.pub"]
            where = ["--plain-http", "--registry", registry.host, "--report", tmp_path / str(number)]
            for command in (["verify", bundle, *trust], ["push", bundle, *trust, *where]):
                # -I and -S: nothing of this interpreter's own packages.
                done = subprocess.run(
                    [str(python), "-I", "-S", str(one_file), *map(str, command)],
                    env={"HOME": str(tmp_path / f"home{number}"), "PATH": "/usr/bin:/bin"},
                    capture_output=True,
                    text=True,
                )
                assert done.returncode == 0, f"{python}: {done.stdout}{done.stderr}"
            assert ("ceph/ceph", "v15.2.4") in registry.store.tags
