"""What ``make dist`` gives away: the same bytes each time, as the package tools and an officer read it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import loader
import release.__main__ as release
from release import packages
from release.manual import manual
from release.programs import NAMES
from tests.support.programs import program

# Made once, and a second time for the comparison.
FILES = (
    "SHA256SUMS",
    "airgap-bundler.1",
    "airgap-loader.1",
    "airgap-loader.pyz",
    f"airgap-loader-{loader.__version__}-1.noarch.rpm",
    f"airgap-loader_{loader.__version__}_all.deb",
    f"airgap_bundler-{loader.__version__}-py3-none-any.whl",
    f"airgap_bundler-{loader.__version__}.tar.gz",
)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    release.main(["-o", str(folder)])
    return folder


def output(*argv: object) -> str:
    return subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=True).stdout


def one(dist: Path, pattern: str) -> Path:
    (path,) = dist.glob(pattern)
    return path


def test_everything_is_there_and_listed(dist: Path) -> None:
    assert sorted(path.name for path in dist.iterdir()) == sorted(FILES)
    assert output("sh", "-c", f"cd {dist} && sha256sum -c --strict --quiet SHA256SUMS") == ""
    listed = [line.split("  ")[1] for line in (dist / "SHA256SUMS").read_text().splitlines()]
    assert sorted(listed) == sorted(set(FILES) - {"SHA256SUMS"})


@pytest.mark.parametrize("pattern", ["*.deb", "*.rpm"])
def test_a_package_is_the_same_bytes_each_time(pattern: str, dist: Path, tmp_path: Path) -> None:
    build = {"*.deb": packages.deb, "*.rpm": packages.rpm}[pattern]
    again = build(dist / "airgap-loader.pyz", tmp_path, release.MOMENT)
    assert again.read_bytes() == one(dist, pattern).read_bytes()


def test_the_sdist_is_the_same_bytes_each_time(dist: Path, tmp_path: Path) -> None:
    again = [path for path in release.python_packages(tmp_path, release.MOMENT) if path.name.endswith(".tar.gz")]
    assert [path.read_bytes() for path in again] == [one(dist, "*.tar.gz").read_bytes()]


def test_the_deb_installs_the_one_file(dist: Path, tmp_path: Path) -> None:
    package = one(dist, "*.deb")
    output(program("dpkg-deb"), "--extract", package, tmp_path)
    installed = tmp_path / "usr/bin/airgap-loader"
    assert installed.read_bytes() == (dist / "airgap-loader.pyz").read_bytes()
    digest = hashlib.sha256(installed.read_bytes()).hexdigest()
    assert digest in output(sys.executable, "-I", "-S", installed, "--version")
    assert output(program("dpkg-deb"), "--field", package, "Version").strip() == loader.__version__


def test_the_rpm_holds_the_one_file_by_a_fips_hash(dist: Path) -> None:
    def ask(query: str) -> list[str]:
        return output(program("rpm"), "-qp", "--nosignature", "--queryformat", query, one(dist, "*.rpm")).splitlines()

    digest = hashlib.sha256((dist / "airgap-loader.pyz").read_bytes()).hexdigest()
    assert f"/usr/bin/airgap-loader 100755 root {digest}" in ask(
        "[%{FILENAMES} %{FILEMODES:octal} %{FILEUSERNAME} %{FILEDIGESTS}\\n]"
    )
    # RHEL 8's rpm reads gzip payloads; an interpreter of RHEL 8's modules is enough.
    assert ask("%{PAYLOADCOMPRESSOR} %{ARCH}\\n") == ["gzip noarch"]
    assert any("python3.11" in line for line in ask("[%{REQUIRENAME}\\n]"))


def test_twine_and_pip_take_the_python_packages(dist: Path, tmp_path: Path) -> None:
    packages = [*dist.glob("*.whl"), *dist.glob("*.tar.gz")]
    output(sys.executable, "-m", "twine", "check", "--strict", *packages)
    with zipfile.ZipFile(one(dist, "*.whl")) as wheel:
        names = wheel.namelist()
    assert "loader/__main__.py" in names
    assert any(name.startswith("bundler/presets/") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "bench/", "release/", "demo/"))]


@pytest.mark.parametrize("name", NAMES)
def test_the_manual_page_is_sound_and_complete(name: str, dist: Path) -> None:
    page = dist / f"{name}.1"
    assert page.read_text(encoding="ascii") == manual(name)
    # The one warning is of the date, which a page that is the same each time has not.
    said = subprocess.run([program("mandoc"), "-T", "lint", "-W", "warning", page], capture_output=True, text=True)
    assert [line for line in said.stdout.splitlines() if "missing date" not in line] == []
    shown = output("sh", "-c", f"{program('mandoc')} -T ascii {page} | sed 's/.\b//g'")
    for words in ("EXIT STATUS", "SEE ALSO", "completion SHELL"):
        assert words in shown
