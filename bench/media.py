"""``python -m bench.media``: discs and the registry out of a bundle, beside cp, sha256sum, par2 and docker-registry."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import ways
from bench.corpus import make_corpus
from bench.measure import CommandFailed, Sample, Spread, measure, ratios
from bench.programs import clean_environment, registry
from bench.run import README, write_table
from bench.verify import make_bundle

MB = 10**6
_K = 4
_NEEDED = {"par2": "par2", "xorriso": "xorriso", "sha256sum": "coreutils", "curl": "curl", "skopeo": "skopeo"}
_NEEDED["docker-registry"] = "docker-registry"
# What each way is compared with, and the most (time) or least (speed) that was asked for.
_COMPARED = {
    "media, parity 1, ISO": ("cp, sha256sum", "time <= 1.3"),
    "verify from ISO": ("verify of the archive", "time <= 1.15"),
    "join, one disc lost": ("par2 repair, one disc lost", "-"),
    "media, parity 1": ("par2 create, the same redundancy", "-"),
    "serve, two clients": ("docker-registry, two clients", "time <= 1.43 (speed >= 0.7)"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, measure, print. Exit 1 when a program is missing or fails."""
    parser = argparse.ArgumentParser(prog="python -m bench.media", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="runs of each, in turn (3)")
    parser.add_argument("--quick", action="store_true", help="small images and one run: shows that it works")
    parser.add_argument("--write", action="store_true", help="put the table into bench/README.md")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="where the images are kept")
    options = parser.parse_args(arguments)
    missing = [package for name, package in _NEEDED.items() if shutil.which(name) is None]
    if missing:
        print(f"missing: {' '.join(missing)}\n  sudo apt-get install {' '.join(missing)}", file=sys.stderr)
        return 1
    cache = options.cache or Path.home() / ".cache" / "airgap-bundler" / "bench"
    try:
        corpus = make_corpus(cache, factor=1, quick=options.quick)
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            archive = make_bundle(corpus, Path(scratch))
            samples = _measured(archive, Path(scratch), 1 if options.quick else options.runs)
            text = _table(archive.stat().st_size, samples, *_overhead(Path(scratch)))
    except CommandFailed as error:
        print(error, file=sys.stderr)
        return 1
    print(text)
    if options.write:
        write_table(README, "media", text)
    return 0


def _commands(archive: Path, folder: Path) -> dict[str, str]:
    """Each way as a line for sh, run in a folder of its own; ``discs`` and ``isos`` beside it are made before."""
    bundler, loader = (shlex.quote(ways.program(name)) for name in ("airgap-bundler", "airgap-loader"))
    here, key = shlex.quote(str(archive)), shlex.quote(str(folder / "bench.key"))
    trust = f"--trust {shlex.quote(str(folder / 'bench.pub'))} --quiet"
    media = f"{bundler} media {here} --volume-size {_volume_size(archive)} --parity 1 --key {key} -q"
    kept = shlex.quote(str(folder / "kept"))
    # One disc of n, and the blocks that its end and beginning share with others.
    par2 = "n=$(ls *.s001 | wc -l) && par2 create -q -q -s1048576 -r$((100 / n + 2)) -n1 set.par2"
    left = f"$(ls -d {kept}/discs/v0? | grep -v v02)"
    volumes = f"{kept}/discs/v0?/*.v0?.s001"
    return {
        "cp, sha256sum": f"cp {here} copy && sha256sum copy",
        "media, parity 1, ISO": f"{media} --iso -o isos",
        "media, parity 1": f"{media} -o discs",
        "par2 create, the same redundancy": f"cp {volumes} . && {par2} *.s001",
        "verify of the archive": f"{loader} verify {here} {trust}",
        "verify from ISO": f"{loader} verify {kept}/isos/v0?.iso {trust}",
        "join, one disc lost": f"{loader} join {left} {kept}/discs/p01 -o joined {trust}",
        "par2 repair, one disc lost": f"cp {kept}/par2/*.* . && rm *.v02.s001 && par2 repair -q -q set.par2",
    }


def _volume_size(archive: Path) -> int:
    """Bytes of a disc that cuts the archive into about four, the common files and the room for a loader beside."""
    return archive.stat().st_size // _K * 101 // 100 + 4 * MB


def _measured(archive: Path, folder: Path, runs: int) -> dict[str, list[Sample]]:
    commands = _commands(archive, folder)
    kept = folder / "kept"
    kept.mkdir()
    samples: dict[str, list[Sample]] = {name: [] for name in commands}
    for name, target in (
        ("media, parity 1", "."),
        ("media, parity 1, ISO", "."),
        ("par2 create, the same redundancy", "par2"),
    ):
        (kept / target).mkdir(exist_ok=True)
        _run(commands[name], kept / target)
    for turn in range(runs):
        for name, line in commands.items():
            run = folder / "turn"
            run.mkdir()
            samples[name].append(_run(line, run))
            shutil.rmtree(run)
            print(f"{turn} {name:<34} {samples[name][-1].wall:6.2f} s", file=sys.stderr, flush=True)
    with _registries(archive, folder) as urls:
        for name in urls:
            samples[name] = []
        for _ in range(runs):
            for name, url in urls.items():
                run = folder / "turn"
                run.mkdir()
                curl = f"curl -sf -o /dev/null {shlex.quote(url)}"
                samples[name].append(_run(f"{curl} & first=$!; {curl} && wait $first", run))
                shutil.rmtree(run)
    return samples


def _run(line: str, folder: Path) -> Sample:
    return measure(["sh", "-c", line], folder=folder, environment=clean_environment(folder))


@contextlib.contextmanager
def _registries(archive: Path, folder: Path) -> Iterator[dict[str, str]]:
    """Both registries with the same images; yields the address of the largest layer in each."""
    serve = [ways.program("airgap-loader"), "serve", str(archive), "--trust", str(folder / "bench.pub"), "--json", "-q"]
    environment = clean_environment(folder / "serving")
    ours = subprocess.Popen(
        [*serve, "--listen", "127.0.0.1:0"], env=environment, stdout=subprocess.PIPE, text=True, cwd=folder
    )
    try:
        document = ""
        while not document.endswith("\n}\n"):
            document += (ours.stdout.readline() if ours.stdout else "") or _ended(ours)
        served = json.loads(document)
        name = served["images"][0]["name"]
        host, _, path = name.partition("/")
        repository = path.rpartition(":")[0]
        with registry(folder / "registry", folder / "registry-scratch") as theirs:
            copy = ["skopeo", "--insecure-policy", "copy", "-q", "--all", "--src-tls-verify=false"]
            target = f"docker://{theirs}/{path}"
            done = [*copy, "--dest-tls-verify=false", f"docker://{name}", target]
            measure(done, folder=folder / "serving", environment=environment)
            layer = _largest(host, repository, path.rpartition(":")[2])
            yield {
                "serve, two clients": f"http://{host}/v2/{repository}/blobs/{layer}",
                "docker-registry, two clients": f"http://{theirs}/v2/{repository}/blobs/{layer}",
            }
    finally:
        ours.terminate()
        ours.communicate()


def _largest(host: str, repository: str, reference: str) -> str:
    """Digest of the largest layer of an image, or of the first image of an index."""
    connection = http.client.HTTPConnection(host)
    with contextlib.closing(connection):
        connection.request("GET", f"/v2/{repository}/manifests/{reference}")
        found = json.loads(connection.getresponse().read())
    if "manifests" in found:
        return _largest(host, repository, found["manifests"][0]["digest"])
    return str(max(found["layers"], key=lambda layer: int(layer["size"]))["digest"])


def _ended(process: subprocess.Popen[str]) -> str:
    raise CommandFailed(f"serve ended with {process.wait()}")


def _overhead(folder: Path) -> tuple[int, float]:
    """How many data discs there are, and most bytes of one beside its segments and 32 bytes for each MiB of the set."""
    discs = [path for path in (folder / "kept/discs").iterdir() if path.is_dir()]
    index = (discs[0] / "chunks.idx").stat().st_size
    sizes = [
        sum(path.stat().st_size for path in disc.rglob("*") if path.is_file() and not path.name.startswith("bench-1."))
        for disc in discs
    ]
    return len(discs) - 1, max(sizes) - index


def _table(size: int, samples: dict[str, list[Sample]], discs: int, overhead: float) -> str:
    runs = f"{len(samples['cp, sha256sum'])} interleaved runs"
    lines = [
        f"An archive of {size / MB:.0f} MB on {discs} data discs and one of parity; {runs}: median (lowest-highest).",
        "",
        "| | seconds | processor seconds | MB/s of a processor | memory, MB |",
        "|---|---|---|---|---|",
    ]
    for name, taken in samples.items():
        cpu = Spread.of([sample.cpu for sample in taken])
        memory = max(sample.rss for sample in taken) / MB
        wall = Spread.of([sample.wall for sample in taken])
        lines.append(f"| {name} | {_spread(wall)} | {_spread(cpu)} | {size / MB / cpu.median:.0f} | {memory:.0f} |")
    lines += ["", "| | beside | time, ratio | processor time, ratio | wanted |", "|---|---|---|---|---|"]
    for ours, (theirs, wanted) in _COMPARED.items():
        walls = ratios([one.wall for one in samples[ours]], [one.wall for one in samples[theirs]])
        cpus = ratios([one.cpu for one in samples[ours]], [one.cpu for one in samples[theirs]])
        lines.append(f"| {ours} | {theirs} | {_spread(walls)} | {_spread(cpus)} | {wanted} |")
    lines += ["", f"A disc holds {overhead / MB:.2f} MB beside its segments and the index of 32 bytes per MiB."]
    return "\n".join(lines)


def _spread(spread: Spread | None) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f}-{spread.high:.2f})" if spread else ""


if __name__ == "__main__":
    sys.exit(main())
