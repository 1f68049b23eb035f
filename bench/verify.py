"""``python -m bench.verify``: checking a bundle, ours beside what an officer types, as a Markdown table."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import ways
from bench.corpus import Corpus, make_corpus
from bench.measure import CommandFailed, Sample, Spread, measure, ratios
from bench.programs import clean_environment
from bench.run import README, write_table

MB = 10**6
_OURS = "airgap-loader verify"
_OPENSSL = "openssl dgst -sha256"
# With neither zstandard nor cryptography, as on a bastion: libzstd by ctypes, signatures by the host's openssl.
_BARE = (
    "import sys; sys.modules['zstandard'] = None; sys.modules['cryptography'] = None; "
    "from loader.cli import main; main()"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, measure, print. Exit 1 when a program is missing or fails."""
    parser = argparse.ArgumentParser(prog="python -m bench.verify", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="runs of each, after one warm-up (5)")
    parser.add_argument("--quick", action="store_true", help="small images and one run: shows that it works")
    parser.add_argument("--data-factor", type=int, default=1, metavar="N", help="layers N times as large")
    parser.add_argument("--write", action="store_true", help="put the table into bench/README.md")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="where the images are kept")
    options = parser.parse_args(arguments)
    missing = [name for name in ("openssl", "zstd", "tar", "sha256sum") if shutil.which(name) is None]
    if missing:
        print(f"missing: {' '.join(missing)}", file=sys.stderr)
        return 1
    cache = options.cache or Path.home() / ".cache" / "airgap-bundler" / "bench"
    try:
        corpus = make_corpus(cache, factor=options.data_factor, quick=options.quick)
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            size, samples = _measured(corpus, Path(scratch), 1 if options.quick else options.runs)
    except CommandFailed as error:
        print(error, file=sys.stderr)
        return 1
    text = _table(size, samples)
    print(text)
    if options.write:
        write_table(README, f"verify-x{options.data_factor}", text)
    return 0


def _measured(corpus: Corpus, folder: Path, runs: int) -> tuple[int, dict[str, list[Sample]]]:
    archive = make_bundle(corpus, folder)
    key = folder / "bench.pub"
    verify = ["verify", str(archive), "--trust", str(key), "--quiet"]
    here, mb = shlex.quote(str(archive)), "rm -rf unpacked && mkdir unpacked && cd unpacked"
    commands = {
        _OPENSSL: ["openssl", "dgst", "-sha256", str(archive)],
        _OURS: [ways.program("airgap-loader"), *verify],
        f"{_OURS}, bare Python": [sys.executable, "-c", _BARE, *verify],
        "zstd, tar, sha256sum -c": ["sh", "-c", f"{mb} && zstd -dc {here} | tar -x && sha256sum -c --quiet SHA256SUMS"],
    }
    samples: dict[str, list[Sample]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, command in commands.items():
            run = folder / "turn"
            run.mkdir()
            sample = measure(command, folder=run, environment=clean_environment(run))
            shutil.rmtree(run)
            print(f"{turn} {name:<34} {sample.wall:6.2f} s", file=sys.stderr, flush=True)
            if turn:  # the first is the warm-up: the archive is in memory afterwards
                samples[name].append(sample)
    return archive.stat().st_size, samples


def make_bundle(corpus: Corpus, folder: Path) -> Path:
    """The corpus as a signed bundle, straight from its layouts."""
    ways.make_keys(folder)
    images = "".join(
        f"- {{image: registry.invalid/bench/{name}:1, from: 'dir:{path}'}}\n" for name, path in corpus.layouts.items()
    )
    config = folder / "bundle.yaml"
    config.write_text(f"name: bench\nversion: '1'\nregistry: mirror.invalid\nimages:\n{images}")
    command = ["build", str(config), "-o", str(folder / "out"), "--key", str(folder / "bench.key"), "--quiet"]
    measure([ways.program("airgap-bundler"), *command], folder=folder, environment=clean_environment(folder))
    return folder / "out" / ways.ARCHIVE


def _table(size: int, samples: dict[str, list[Sample]]) -> str:
    count = len(samples[_OURS])
    runs = f"{count} interleaved run{'' if count == 1 else 's'}"
    lines = [
        f"An archive of {size / MB:.0f} MB; {runs}: median (lowest-highest).",
        "",
        "| | seconds | speed against openssl | processor seconds | memory, MB | disk, MB |",
        "|---|---|---|---|---|---|",
    ]
    walls = [sample.wall for sample in samples[_OPENSSL]]
    for name, taken in samples.items():
        speed = ratios(walls, [sample.wall for sample in taken])
        cells = [
            _spread(Spread.of([sample.wall for sample in taken])),
            _spread(speed) if speed else "",
            _spread(Spread.of([sample.cpu for sample in taken])),
            f"{max(sample.rss for sample in taken) / MB:.0f}",
            f"{max(sample.disk for sample in taken) / MB:.0f}",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f}-{spread.high:.2f})"


if __name__ == "__main__":
    sys.exit(main())
