"""``make bench``: build and load, ours and the article's way in turn, as a Markdown table."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import peers, ways
from bench.corpus import Corpus, make_corpus
from bench.measure import CommandFailed, Sample
from bench.programs import MissingProgram, registry, require_programs
from bench.table import Results, render

README = Path(__file__).with_name("README.md")
_WARM_UP = 1
_EMPTY_EACH_TIME = {"load", "article_load", "curl", "curl_whole"}
_WAYS: dict[str, ways.Way] = {
    "build": ways.build,
    "article_build": ways.article_build,
    "load": ways.load,
    "article_load": ways.article_load,
    "curl": ways.curl_push,
    "curl_whole": ways.curl_whole_push,
}
_OURS = ("build", "load", "curl", "curl_whole")


def all_ways() -> dict[str, ways.Way]:
    """Every way there is here by name: ours, the article's, ``NAME_build`` and ``NAME_load`` of each peer on PATH."""
    found = dict(_WAYS)
    for peer in peers.found():
        found[f"{peer.name}_build"], found[f"{peer.name}_load"] = ways.peer_ways(peer)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, measure, print. Exit 1 when a program is missing or fails."""
    options = _parser().parse_args(arguments)
    cache = options.cache or Path.home() / ".cache" / "airgap-bundler" / "bench"
    try:
        require_programs()
        corpus = make_corpus(cache, factor=options.data_factor, quick=options.quick)
        there = all_ways()
        chosen = {name: there[name] for name in _OURS} if options.ours else there
        runs = 1 if options.quick else options.runs
        results = measure_all(corpus, chosen, runs=runs, warm_up=0 if options.quick else _WARM_UP, work=options.work)
    except (MissingProgram, CommandFailed) as error:
        print(error, file=sys.stderr)
        return 1
    text = render(results)
    print(text)
    if options.write:
        write_table(README, f"x{options.data_factor}", text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="pairs measured after one warm-up (5)")
    parser.add_argument("--quick", action="store_true", help="small images and one run: shows that it works")
    parser.add_argument("--data-factor", type=int, default=1, metavar="N", help="layers N times as large")
    parser.add_argument("--ours", action="store_true", help="leave the article's way out")
    parser.add_argument("--write", action="store_true", help="put the table into bench/README.md")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="where the images are kept")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where the runs work (the system's temporary folder)")
    return parser


def measure_all(
    corpus: Corpus, chosen: Mapping[str, ways.Way], *, runs: int, warm_up: int, work: Path | None
) -> Results:
    """Run every way ``warm_up + runs`` times in turn, each into an empty registry; the warm-up is not counted.

    A peer that fails is left out from then on, and said so.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in chosen}
    with tempfile.TemporaryDirectory(prefix="bench-", dir=work) as scratch:
        folder = Path(scratch)
        kept = folder / "kept"
        kept.mkdir()
        ways.make_keys(kept)
        _fill_once(corpus, folder)
        with registry(corpus.folder / "registry", folder / "source") as source:
            for turn in range(warm_up + runs):
                for name in tuple(samples):
                    try:
                        sample = _one(chosen[name], name, ways.Setting(corpus, source, "", kept), folder)
                    except CommandFailed as error:
                        if name in _WAYS:
                            raise
                        _leave_out(name, samples, error)
                        continue
                    if turn >= warm_up:
                        samples[name].append(sample)
                    print(f"{turn} {name:<14} {sample.wall:6.2f} s", file=sys.stderr, flush=True)
        sizes = {way.name: peers.archive_size(way) for way in kept.iterdir() if way.is_dir()}
    return Results(samples, sizes, corpus.unique, corpus.total, len(corpus.layouts))


def _leave_out(name: str, samples: dict[str, list[Sample]], error: CommandFailed) -> None:
    peer = name.rpartition("_")[0]
    print(f"{peer} is left out: {error}", file=sys.stderr)
    for way in (f"{peer}_build", f"{peer}_load"):
        samples.pop(way, None)


def _fill_once(corpus: Corpus, folder: Path) -> None:
    """Push the images to the source registry's folder in the cache, once for all benchmarks."""
    final = corpus.folder / "registry"
    if final.is_dir():
        return
    partial = corpus.folder / ".registry.part"
    shutil.rmtree(partial, ignore_errors=True)
    scratch = folder / "fill"
    with registry(partial, scratch) as host:
        ways.fill_source(ways.Setting(corpus, host, "", folder), scratch)
    partial.replace(final)


def _one(way: ways.Way, name: str, setting: ways.Setting, folder: Path) -> Sample:
    """One measured run in a folder of its own, with a fresh registry as target where it needs one."""
    run, target = folder / "run", folder / "target"
    run.mkdir()
    with contextlib.ExitStack() as ending:
        ending.callback(shutil.rmtree, target, ignore_errors=True)
        ending.callback(shutil.rmtree, run)
        host = ""
        if name in _EMPTY_EACH_TIME or name.endswith("_load"):
            host = ending.enter_context(registry(target / "data", target / "scratch"))
        # What earlier runs left to be written must not be this run's burden.
        os.sync()
        return way(ways.Setting(setting.corpus, setting.source, host, setting.kept), run)


def write_table(readme: Path, label: str, table: str) -> None:
    """Replace what stands between the marks of ``label`` in ``readme``."""
    begin, end = f"<!-- {label} -->", f"<!-- end {label} -->"
    text = readme.read_text()
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"{readme.name} has no place for {label}: put in {begin} and {end}")
    readme.write_text(pattern.sub(lambda _: f"{begin}\n{table}\n{end}", text))


if __name__ == "__main__":
    sys.exit(main())
