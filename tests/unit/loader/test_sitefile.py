from __future__ import annotations

from pathlib import Path

import pytest

from loader.bundle.errors import ConfigError, StorageError, TrustError
from loader.sitefile import Site, read_site
from tests.support.refusals import refused

HOME = Path("/somewhere/jo")
FULL = """\
registry = "registry.site7:5000/mirror"
authfile = "auth.json"
certDir = "/etc/containers/certs.d"
trust = "~/keys"
state = "state"
reports = "reports/site7"
context = "admin"
server = "https://api.site7:6443"
mirrors = "manual"
"""


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "site.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_every_value_and_where_paths_start(tmp_path: Path) -> None:
    assert read_site(written(tmp_path, FULL), HOME) == Site(
        registry="registry.site7:5000/mirror",
        authfile=tmp_path / "auth.json",
        cert_dir=Path("/etc/containers/certs.d"),
        trust=HOME / "keys",
        state=tmp_path / "state",
        reports=tmp_path / "reports/site7",
        context="admin",
        server="https://api.site7:6443",
        mirrors="manual",
    )
    assert read_site(written(tmp_path, ""), HOME) == Site()


@pytest.mark.parametrize(
    ("text", "place", "word"),
    [
        ('registri = "r"', "registri", "did you mean registry?"),
        ("registry = 5", "registry", "printable"),
        ('registry = "https://r"', "registry", ""),
        ('registry = "r/../x"', "registry", ""),
        ('mirrors = "all"', "mirrors", "cluster, manual, none"),
        ('server = "api.site7:6443"', "server", "https://"),
        ('context = "--kubeconfig=/x"', "context", "option"),
        ('trust = "a\\nb"', "trust", "printable"),
        ('trust = ""', "trust", "printable"),
        ('"\\u001b[2J" = "x"', "'\\x1b[2J'", "unknown"),
        ('[registry]\nhost = "r"', "registry", "printable"),
    ],
)
def test_a_wrong_value_is_named(text: str, place: str, word: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_site(written(tmp_path, text), HOME)
    assert [where for where, _ in caught.value.faults] == [place]
    assert word in caught.value.faults[0][1]


@pytest.mark.parametrize("text", [b"registry = ", b"\xff\xfe", b"#" * (64 * 1024 + 1), b"a = " + b"[" * 5000])
def test_what_is_no_site_file(text: bytes, tmp_path: Path) -> None:
    with refused(ConfigError, "is no site file"):
        read_site(written(tmp_path, text), HOME)


def test_a_site_file_of_others(tmp_path: Path) -> None:
    path = written(tmp_path, FULL)
    path.chmod(0o646)
    with refused(TrustError, "site.toml"):
        read_site(path, HOME)
    with refused(StorageError, "none.toml"):
        read_site(tmp_path / "none.toml", HOME)
