"""Every hostile input is met in an empty world that must be empty afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest

from loader.bundle.keys import SignatureCheck
from loader.openssl_cli import OpensslCheck
from loader.signing import CryptographyCheck


@pytest.fixture(autouse=True)
def _nothing_is_written(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make working folder, home and temporary folder one empty folder, and require it empty at the end."""
    world = tmp_path_factory.mktemp("world")
    monkeypatch.chdir(world)
    for name in ("HOME", "TMPDIR", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(world))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield
    assert list(world.iterdir()) == []


@pytest.fixture(params=[CryptographyCheck, OpensslCheck], ids=["cryptography", "openssl"])
def check(request: pytest.FixtureRequest) -> SignatureCheck:
    """Both signature backends: their verdicts must be the same."""
    backend: SignatureCheck = request.param()
    return backend
