"""The loader as a deb and an RPM: the one file, its manual page and its completion, nothing unpacked.

fapolicyd lets run what the package database knows, so a hardened host wants the loader from a package. The same
sources give the same bytes, under one version of dpkg-deb and rpmbuild.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loader import __version__
from loader.cli.completion import Shell
from release.manual import manual
from release.programs import completion

NAME = "airgap-loader"
SUMMARY = "Verify a bundle of container images, push it, apply its documents"
DESCRIPTION = (
    "The far side of airgap-bundler: it checks a signed archive or media set without a network, pushes its images "
    "into a registry and applies its documents to a cluster."
)
MAINTAINER = "The airgap-bundler maintainers <airgap-bundler@localhost>"
# RHEL 8 has 3.6 as its python3 and newer ones under names of their own; the loader finds those itself.
RPM_PYTHON = "(python3 >= 3.9 or python3.12 or python3.11 or python39)"
# Readable by rpm on RHEL 8 and in FIPS mode: gzip, and SHA-256 (8) of every file.
RPM_MACROS = {
    "_binary_payload": "w9.gzdio",
    "_binary_filedigest_algorithm": "8",
    "_build_id_links": "none",
    "_buildhost": "localhost",
    "__os_install_post": "%{nil}",
    "use_source_date_epoch_as_buildtime": "1",
}


def deb(pyz: Path, folder: Path, moment: int) -> Path:
    """Write ``airgap-loader_VERSION_all.deb`` into ``folder``; ``moment``: seconds since the epoch, of every file."""
    target = folder / f"{NAME}_{__version__}_all.deb"
    with _staged(pyz, moment) as root:
        _write(root / "DEBIAN/control", _control(root).encode(), moment)
        argv = [_program("dpkg-deb", "dpkg"), "--build", "--root-owner-group", "-Zxz", str(root), str(target)]
        _run(argv, moment)
    return target


def rpm(pyz: Path, folder: Path, moment: int) -> Path:
    """Write ``airgap-loader-VERSION-1.noarch.rpm`` into ``folder``."""
    target = folder / f"{NAME}-{__version__}-1.noarch.rpm"
    with _staged(pyz, moment) as root, tempfile.TemporaryDirectory() as top:
        spec = Path(top) / f"{NAME}.spec"
        spec.write_text(_spec(root), encoding="utf-8")
        macros = {**RPM_MACROS, "_topdir": top, "_rpmdir": top, "_rpmfilename": target.name}
        defines = [f"--define={name} {value}" for name, value in macros.items()]
        _run([_program("rpmbuild", "rpm"), "-bb", "--quiet", "--target=noarch", *defines, str(spec)], moment)
        shutil.copyfile(Path(top) / target.name, target)
    return target


def _files(pyz: Path) -> dict[str, bytes]:
    return {
        f"usr/bin/{NAME}": pyz.read_bytes(),
        f"usr/share/man/man1/{NAME}.1.gz": gzip.compress(manual(NAME).encode("ascii"), mtime=0),
        f"usr/share/bash-completion/completions/{NAME}": completion(NAME, Shell.bash),
        f"usr/share/zsh/site-functions/_{NAME}": completion(NAME, Shell.zsh),
    }


@contextmanager
def _staged(pyz: Path, moment: int) -> Iterator[Path]:
    """A folder with what gets installed, as it will lie below ``/``."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        for name, content in _files(pyz).items():
            _write(root / name, content, moment, mode=0o755 if name.startswith("usr/bin/") else 0o644)
        yield root


def _write(path: Path, content: bytes, moment: int, *, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    os.utime(path, (moment, moment))


def _control(root: Path) -> str:
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    fields = {
        "Package": NAME,
        "Version": __version__,
        "Architecture": "all",
        "Maintainer": MAINTAINER,
        "Installed-Size": str(-(-size // 1024)),
        "Depends": "python3 (>= 3.9), openssl",
        "Recommends": "libzstd1 | zstd",
        "Section": "admin",
        "Priority": "optional",
        "Description": f"{SUMMARY}\n {DESCRIPTION}",
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items())


def _spec(root: Path) -> str:
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    modes = {name: f"{(root / name).stat().st_mode & 0o777:o}" for name in names}
    listed = "\n".join(f"%attr({modes[name]}, root, root) /{name}" for name in names)
    return f"""Name: {NAME}
Version: {__version__}
Release: 1
Summary: {SUMMARY}
License: Apache-2.0
BuildArch: noarch
AutoReqProv: no
Requires: {RPM_PYTHON}
Requires: openssl
Recommends: libzstd

%description
{DESCRIPTION}

%install
mkdir -p %{{buildroot}}
cp -a {root}/. %{{buildroot}}/

%files
{listed}
"""


def _program(name: str, package: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise SystemExit(f"{name} is missing: apt-get install {package}")
    return path


def _run(argv: list[str], moment: int) -> None:
    environ = {**os.environ, "SOURCE_DATE_EPOCH": str(moment)}
    done = subprocess.run(argv, check=False, env=environ, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{argv[0]} failed:\n{done.stdout}{done.stderr}")
