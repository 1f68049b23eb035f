"""``python -m bench.scale``: memory as the data grows to 20 GB, and time as images and blobs grow in number.

Source and target are the double of :mod:`bench.double`, in processes of their own: what is measured is our programs.
``--gigabytes`` builds and loads one image after another of these sizes (the archive is on this disk), ``--images``
bundles with this many images of ten small blobs each. Up to ``--peer-up-to`` images skopeo, to folders and back, and
those of hauler, zarf and oc-mirror that are on PATH are measured beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import peers
from bench.double import Shape, as_argument
from bench.measure import CommandFailed, Sample, measure
from bench.programs import clean_environment
from bench.run import README, write_table
from bench.ways import ARCHIVE, make_keys, program

_MB = 10**6
_SMALL = 2_000
_LAYER = 256 * 2**20
_LAYERS = 9


@dataclass(frozen=True)
class Row:
    """One size measured: ``again`` is a second load of the same bundle; ``peers``: others' build and load."""

    title: str
    items: int
    build: Sample
    load: Sample
    again: Sample
    peers: Mapping[str, tuple[Sample, Sample]] = field(default_factory=dict)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for and print a table for each kind."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--gigabytes", type=float, nargs="*", default=[], metavar="N")
    parser.add_argument("--images", type=int, nargs="*", default=[], metavar="N")
    parser.add_argument("--peer-up-to", type=int, default=0, metavar="N", help="images that others carry too (none)")
    parser.add_argument("--write", action="store_true", help="put the tables into bench/README.md")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where the runs work (the system's temporary folder)")
    options = parser.parse_args(arguments)
    tables = {}
    if options.gigabytes:
        tables["size"] = size_table([_large(size, options.work) for size in options.gigabytes])
    if options.images:
        tables["count"] = count_table([_many(n, n <= options.peer_up_to, options.work) for n in options.images])
    for label, table in tables.items():
        print(table)
        if options.write:
            write_table(README, label, table)
    return 0


def _large(gigabytes: float, work: Path | None) -> Row:
    layers = max(1, round(gigabytes * 1e9 / _LAYER))
    return _row(f"{layers * _LAYER / 1e9:.1f} GB", Shape(1, layers, _LAYER), peer=False, work=work)


def _many(images: int, peer: bool, work: Path | None) -> Row:
    return _row(f"{images} images", Shape(images, _LAYERS, _SMALL), peer=peer, work=work)


def _row(title: str, shape: Shape, *, peer: bool, work: Path | None) -> Row:
    with tempfile.TemporaryDirectory(prefix="scale-", dir=work) as scratch, double(shape) as source:
        folder = Path(scratch)
        make_keys(folder)
        build = _measured(title, "build", [*_build(folder, shape, source)], folder)
        with double(Shape(0, 0, 0)) as target:
            command = _load(folder, target)
            load, again = (_measured(title, what, command, folder) for what in ("load", "load again"))
        shutil.rmtree(folder / "out")
        others = _others(title, shape, source, folder) if peer else {}
    return Row(title, shape.images * (shape.layers + 1), build, load, again, others)


def _build(folder: Path, shape: Shape, source: str) -> list[str]:
    images = "\n".join(f"- {source}/{name}:1" for name in shape.names())
    (folder / "bundle.yaml").write_text(f"name: bench\nversion: '1'\nregistry: registry.invalid\nimages:\n{images}\n")
    command = ["build", str(folder / "bundle.yaml"), "-o", str(folder / "out"), "--key", str(folder / "bench.key")]
    return [program("airgap-bundler"), *command, "--plain-http"]


def _load(folder: Path, target: str) -> list[str]:
    options = ["--trust", str(folder / "bench.pub"), "--registry", target, "--plain-http", "--no-apply"]
    return [program("airgap-loader"), "load", str(folder / "out" / ARCHIVE), *options]


def _others(title: str, shape: Shape, source: str, folder: Path) -> dict[str, tuple[Sample, Sample]]:
    """Build and load of everybody else; one that fails is named and left out."""
    found = {"skopeo": _skopeo(title, shape, source, folder)}
    images = {f"{source}/{name}:1": _digest(source, name) for name in shape.names()}
    for peer in peers.found():
        place = folder / peer.name
        output = place / "out"
        try:
            samples = []
            for what, run in (("build", place / "there"), ("load", place / "here")):
                run.mkdir(parents=True)
                output.mkdir(exist_ok=True)
                for name, text in peer.files(images).items():
                    (run / name).write_text(text)
                with double(Shape(0, 0, 0)) as target:
                    lines = peer.build(output, "") if what == "build" else peer.load(output, target)
                    command = ["bash", "-euo", "pipefail", "-c", "\n".join(lines)]
                    samples.append(_measured(title, f"{peer.name}, {what}", command, run))
            found[peer.name] = (samples[0], samples[1])
        except CommandFailed as error:
            print(f"{peer.name} is left out: {error}", file=sys.stderr)
        shutil.rmtree(place)
    return found


def _digest(source: str, name: str) -> str:
    connection = http.client.HTTPConnection(source)
    connection.request("HEAD", f"/v2/{name}/manifests/1")
    with connection.getresponse() as answer:
        digest = answer.headers["Docker-Content-Digest"]
    connection.close()
    return digest


def _skopeo(title: str, shape: Shape, source: str, folder: Path) -> tuple[Sample, Sample]:
    """``skopeo copy`` of each image to a folder of its own, and back into a registry."""
    copy = "skopeo --insecure-policy copy -q --all --preserve-digests"
    names = list(enumerate(shape.names()))
    there = [f"{copy} --src-tls-verify=false docker://{source}/{name}:1 dir:{n}" for n, name in names]
    pull = _measured(title, "skopeo, pull", ["bash", "-euc", "\n".join(there)], folder)
    with double(Shape(0, 0, 0)) as target:
        back = [f"{copy} --dest-tls-verify=false dir:{n} docker://{target}/{name}:1" for n, name in names]
        push = _measured(title, "skopeo, push", ["bash", "-euc", "\n".join(back)], folder)
    return pull, push


def _measured(title: str, what: str, command: list[str], folder: Path) -> Sample:
    sample = measure(command, folder=folder, environment=clean_environment(folder))
    line = f"{title:<12} {what:<12} {sample.wall:7.2f} s  {sample.cpu:7.2f} cpu s  {sample.rss / _MB:4.0f} MB"
    print(line, file=sys.stderr, flush=True)
    return sample


@contextlib.contextmanager
def double(shape: Shape) -> Iterator[str]:
    """Run a double in a process of its own; yields its ``host:port``."""
    command = [sys.executable, "-m", "bench.double", as_argument(shape)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ) as running:
        if running.stdout is None or running.stdin is None:
            raise RuntimeError("the double has no pipes")
        yield running.stdout.readline().strip()
        running.stdin.close()


def size_table(rows: Sequence[Row]) -> str:
    """Memory and time by size, as Markdown."""
    lines = ["| | build, peak MB | load, peak MB | build, cpu s | load, cpu s | build, s | load, s |", "|" + "---|" * 7]
    for row in rows:
        samples = (row.build, row.load)
        memory = " | ".join(f"{sample.rss / _MB:.0f}" for sample in samples)
        processor = " | ".join(f"{sample.cpu:.1f}" for sample in samples)
        lines.append(f"| {row.title} | {memory} | {processor} | {row.build.wall:.1f} | {row.load.wall:.1f} |")
    return "\n".join(lines)


def count_table(rows: Sequence[Row]) -> str:
    """Processor time per blob, and memory; then the others' beside ours; as Markdown."""
    titles = ["", "blobs", "build, ms each", "load, ms each", "load again, ms each", "build, peak MB", "load, peak MB"]
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    for row in rows:
        each = [f"{1000 * sample.cpu / row.items:.2f}" for sample in (row.build, row.load, row.again)]
        memory = [f"{sample.rss / _MB:.0f}" for sample in (row.build, row.load)]
        lines.append(f"| {' | '.join([row.title, str(row.items), *each, *memory])} |")
    names = list(dict.fromkeys(name for row in rows for name in row.peers))
    if names:
        lines += ["", f"| processor, ms each | ours | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for row in rows:
        for number, what in enumerate(("build", "load") if row.peers else ()):
            ours = (row.build, row.load)[number]
            samples = [ours, *(row.peers[name][number] if name in row.peers else None for name in names)]
            each = [f"{1000 * sample.cpu / row.items:.2f}" if sample else "" for sample in samples]
            lines.append(f"| {row.title}, {what} | {' | '.join(each)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
