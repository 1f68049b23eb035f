"""``make demo``: build, sign, check, load, and load again, between two throw-away registries.

Every step is the line a person would type, run by a shell in a temporary folder with a home of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import article
from tests.support.blobstore import BlobStore
from tests.support.registry import RegistryServer

ROOT = Path(__file__).resolve().parent.parent
NAME = "rook-ceph-2020.10"
ARCHIVE = f"out/{NAME}.tar.zst"
DOCUMENTS = f"reports/{NAME}.documents"
# 8 MB that all images share and 0.4 MB of each child's own: large enough for frames of their own, small enough for
# a slow machine.
LAYER = 400_000
STEP_SECONDS = 120
NEEDED = {"openssl": "openssl", "sha256sum": "coreutils", "tar": "tar"}


class StepFailed(Exception):
    """A step did not end as it must; the message names it."""


@dataclass
class Stage:
    """Runs the steps in ``folder`` and remembers how long each took."""

    folder: Path
    timings: list[tuple[str, float]] = field(default_factory=list)

    def step(self, title: str) -> None:
        """Begin a step: what follows is counted for it."""
        self.timings.append((title, 0.0))
        say(f"\n== {len(self.timings)}. {title}")

    def run(self, line: str, *, status: int = 0, **variables: str) -> str:
        """Run a shell line, print it with its output, and return the output; another exit code ends the demo."""
        shown = "".join(f"{name}={value} " for name, value in variables.items())
        say(f"\n$ {shown}{line}")
        started = time.monotonic()
        done = subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=self.folder,
            env={**self._environment(), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=STEP_SECONDS,
            check=False,
        )
        took = time.monotonic() - started
        title, before = self.timings[-1]
        self.timings[-1] = (title, before + took)
        ended = f"({took:.2f} s{f', exit {done.returncode}' if done.returncode else ''})"
        say(f"{done.stdout.rstrip()}\n{ended}" if done.stdout.strip() else ended)
        if done.returncode != status:
            raise StepFailed(f"step {len(self.timings)}, {title}: exit {done.returncode}, not {status}: {line}")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        """A home of its own, our programs first on PATH, no proxy: nothing here leaves the machine."""
        programs = Path(sys.executable).parent
        return {"HOME": str(self.folder / "home"), "PATH": f"{programs}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}

    def require(self, truth: bool, what: str) -> None:
        """End the demo unless ``truth``."""
        if not truth:
            raise StepFailed(f"step {len(self.timings)}, {self.timings[-1][0]}: {what}")


def say(text: str) -> None:
    """Print to a person, at once."""
    print(text, flush=True)  # noqa: T201 - the demo's whole purpose


def tell_the_story(stage: Stage, source: str, target: str) -> None:
    """Run all steps; ``source`` and ``target`` are the registries outside and inside."""
    pack(stage, source)
    check_by_hand(stage)
    check_by_loader(stage)
    load(stage, target)
    load_again(stage, target)


def pack(stage: Stage, source: str) -> None:
    """Outside: a key, a config with the images' real names, one archive."""
    (stage.folder / "bundle.yaml").write_text(article.config(), encoding="utf-8")
    # The images' names stay those of the public registries; this file says where to find them on this machine.
    (stage.folder / "registries.conf").write_text(article.registries_conf(source), encoding="utf-8")
    stage.step("outside: a signing key")
    stage.run("airgap-bundler keygen builder")
    stage.step("outside: build and sign")
    stage.run("cat bundle.yaml")
    stage.run("airgap-bundler build bundle.yaml -o out --key builder.key", CONTAINERS_REGISTRIES_CONF="registries.conf")
    stage.run("ls -sh out")


def check_by_hand(stage: Stage) -> None:
    """At the border: the officer has openssl and sha256sum, and no program of ours."""
    stage.step("at the border: the officer checks the file with stock tools")
    signature = f"{ARCHIVE}.sha256.builder.sig"
    stage.run(f"openssl dgst -sha256 -verify builder.pub -signature {signature} {ARCHIVE}.sha256")
    stage.run(f"cd out && sha256sum -c --strict {NAME}.tar.zst.sha256")
    has_zstd = shutil.which("zstd") is not None
    stage.step(f"at the border: and what is in it{'' if has_zstd else ' (no zstd here: the head alone)'}")
    unpack = f"zstd -dc {ARCHIVE} | tar -x -C opened" if has_zstd else f"tar -xf out/{NAME}.head.tar -C opened"
    stage.run(f"mkdir opened && {unpack}")
    stage.run("cd opened && openssl dgst -sha256 -verify ../builder.pub -signature SHA256SUMS.builder.sig SHA256SUMS")
    if has_zstd:
        stage.run("cd opened && sha256sum -c --strict --quiet SHA256SUMS && echo every file matches")
        stage.run("cut -c67- opened/SHA256SUMS | sort > listed")
        stage.run(
            "cd opened && find . ! -type d ! -path ./SHA256SUMS ! -path './SHA256SUMS.*.sig' | cut -c3- | sort"
            " | diff ../listed - && echo none missing, none more"
        )
    else:
        stage.run("cd opened && sha256sum -c --strict --ignore-missing SHA256SUMS")


def check_by_loader(stage: Stage) -> None:
    """At the border or inside: every check there is, and what becomes of a changed file."""
    stage.step("inside: verify")
    stage.run(f"airgap-loader verify {ARCHIVE} --trust builder.pub")
    stage.step("inside: eight bytes are changed, and it is refused")
    stage.run(
        f"cp {ARCHIVE} changed.tar.zst && printf tampered | "
        "dd of=changed.tar.zst bs=1 seek=3000000 conv=notrunc status=none"
    )
    stage.run("airgap-loader verify changed.tar.zst --trust builder.pub", status=3)


def load_line(target: str) -> str:
    """The loader's one command, for a registry without TLS and without a cluster."""
    return (
        f"airgap-loader load {ARCHIVE} --trust builder.pub --registry {target} --plain-http --no-apply --report reports"
    )


def load(stage: Stage, target: str) -> None:
    """Inside: images into the site's registry, documents for the cluster's administrator."""
    stage.step("inside: load into this site's registry")
    stage.run(load_line(target))
    stage.require(report(stage)["blobs"]["sent"] > 0, "no blob was sent")
    stage.step("inside: what would be applied")
    stage.run(f"cat {DOCUMENTS}/documents/mirrors/idms.yaml")
    stage.run(f'for f in {DOCUMENTS}/documents/rook/*; do echo "$f"; cat $f; echo; done')


def load_again(stage: Stage, target: str) -> None:
    """Inside: the same command changes nothing."""
    stage.step("inside: the same again changes nothing")
    stage.run(load_line(target))
    again = report(stage)
    stage.require(again["blobs"]["sent"] == 0, "a blob was sent again")
    stage.require(not any(image["tagMoved"] for image in again["images"]), "a tag was moved")


def report(stage: Stage) -> dict[str, Any]:
    """The load report of the last run."""
    found: dict[str, Any] = json.loads((stage.folder / f"reports/{NAME}.load.json").read_text(encoding="utf-8"))
    return found


@contextlib.contextmanager
def outside_registry() -> Iterator[str]:
    """A registry with the eight images; gives its ``host:port``."""
    store = BlobStore()
    try:
        article.put_images(store, LAYER)
        with RegistryServer(store) as server:
            yield server.host
    finally:
        store.close()


@contextlib.contextmanager
def inside_registry(folder: Path) -> Iterator[str]:
    """An empty registry in a process of its own; gives its ``host:port``."""
    command = [sys.executable, "-m", "tests.support.registry", "--port", "0", "--dir", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            host = process.stdout.readline().strip() if process.stdout else ""
            if not host:
                raise StepFailed("the second registry did not start")
            yield host
        finally:
            process.terminate()


@contextlib.contextmanager
def scratch(*, keep: bool) -> Iterator[Path]:
    """A temporary folder, removed at the end unless ``keep``."""
    folder = Path(tempfile.mkdtemp(prefix="airgap-demo-"))
    try:
        yield folder
    finally:
        if keep:
            say(f"\nkept: {folder}")
        else:
            shutil.rmtree(folder)


def missing_programs() -> list[str]:
    """Debian packages of the stock tools that are not here."""
    return sorted({package for program, package in NEEDED.items() if shutil.which(program) is None})


def print_timings(timings: list[tuple[str, float]], whole: float) -> None:
    """The table at the end."""
    say("\nseconds  step")
    for number, (title, seconds) in enumerate(timings, 1):
        say(f"{seconds:7.2f}  {number}. {title}")
    say(f"{whole:7.2f}  the whole, registries and images included")


def main() -> int:
    """Run the demo and return its exit code: 0 when every step ended as it must."""
    parser = argparse.ArgumentParser(prog="python -m demo.run", description="Build, sign, check and load a bundle.")
    parser.add_argument("--keep", action="store_true", help="keep the folder with all files and say where it is")
    options = parser.parse_args()
    packages = missing_programs()
    if packages:
        say(f"the demo needs tools that are not here: apt-get install -y {' '.join(packages)}")
        return 1
    # A plain SIGTERM would leave the second registry and the folder behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    try:
        with scratch(keep=options.keep) as folder, outside_registry() as source:
            with inside_registry(folder / "registry") as target:
                stage = Stage(folder)
                tell_the_story(stage, source, target)
            print_timings(stage.timings, time.monotonic() - started)
    except StepFailed as failure:
        say(f"\nFAILED: {failure}")
        return 1
    except subprocess.TimeoutExpired as expired:
        say(f"\nFAILED: no end after {STEP_SECONDS} s: {expired.cmd[-1]}")
        return 1
    except KeyboardInterrupt:
        say("\nstopped")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
