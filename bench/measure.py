"""One run of a command, measured: time, processor, memory, disk, and when it said what."""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

_PERIOD = 0.02
_DISK_PERIODS = 10
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB", re.MULTILINE)


class CommandFailed(Exception):
    """A measured command did not end with 0."""


@dataclass(frozen=True)
class Sample:
    """Seconds and bytes. ``rss`` is the peak memory of the largest process: the program or one it started.

    ``disk`` is the most that stood in the watched folders beyond what was there, ``written`` what all processes
    wrote to disks, ``lines`` the seconds at which each line of stdout came.
    """

    wall: float
    cpu: float
    rss: int
    disk: int
    written: int
    lines: tuple[tuple[float, str], ...]

    def between(self, first: str, last: str) -> float:
        """Seconds from the last line that begins with ``first`` to the first after it that begins with ``last``."""
        start = [when for when, line in self.lines if line.startswith(first)][-1]
        return next(when for when, line in self.lines if line.startswith(last) and when >= start) - start


def measure(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], output: Optional[Path] = None
) -> Sample:
    """Run ``command`` in ``folder``; that and ``output`` are watched. ``CommandFailed`` with its last words."""
    errors = folder / "stderr"
    watched = [folder, *([output] if output else [])]
    before = disk_usage(watched)
    lines: list[tuple[float, str]] = []
    with errors.open("wb") as err:
        started = time.monotonic()
        running = subprocess.Popen(
            command, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err
        )
        watch = _Watch(running.pid, watched)
        reader = threading.Thread(target=_read_lines, args=(running, started, lines))
        watch.start()
        reader.start()
        # wait4 is the only way to the usage of this child and what it waited for, apart from earlier ones.
        _, status, usage = os.wait4(running.pid, 0)
        wall = time.monotonic() - started
        running.returncode = os.waitstatus_to_exitcode(status)
        watch.stop()
        reader.join()
    if running.returncode:
        words = errors.read_text(errors="replace")[-2000:]
        raise CommandFailed(f"{' '.join(command)} ended with {running.returncode}: {words}")
    # Linux counts blocks of 512 bytes that became dirty, whatever the file system's own block size.
    return Sample(
        wall=wall,
        cpu=usage.ru_utime + usage.ru_stime,
        rss=watch.memory,
        disk=max(watch.disk, disk_usage(watched)) - before,
        written=usage.ru_oublock * 512,
        lines=tuple(lines),
    )


def _read_lines(running: subprocess.Popen[bytes], started: float, lines: list[tuple[float, str]]) -> None:
    if running.stdout is not None:
        with running.stdout as stream:
            lines.extend((time.monotonic() - started, line.decode(errors="replace").rstrip("\n")) for line in stream)


class _Watch:
    """Looks at the peak memory of a process and its descendants, and at folders, until stopped.

    The kernel keeps each peak (``VmHWM``), so only growth in a process's last 20 ms can be missed. The ``ru_maxrss``
    of ``wait4`` does not do: it starts from what the parent had when it forked.
    """

    def __init__(self, pid: int, folders: Sequence[Path]) -> None:
        self._pid = pid
        self._folders = folders
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.memory = 0
        self.disk = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _work(self) -> None:
        turn = 0
        while not self._stopped.wait(_PERIOD):
            self.memory = max([self.memory, *(_peak(pid) for pid in (self._pid, *_descendants(self._pid)))])
            if turn % _DISK_PERIODS == 0:
                self.disk = max(self.disk, disk_usage(self._folders))
            turn += 1


def _peak(pid: int) -> int:
    found = _PEAK.search(_proc(f"{pid}/status"))
    return int(found[1]) * 1024 if found else 0


def _descendants(pid: int) -> list[int]:
    """Children of the process's main thread and theirs: neither sh, skopeo, tar nor zstd start any elsewhere."""
    children = [int(word) for word in _proc(f"{pid}/task/{pid}/children").split()]
    return [*children, *(below for child in children for below in _descendants(child))]


def _proc(path: str) -> str:
    try:
        return (Path("/proc") / path).read_text()
    except OSError:
        return ""


def disk_usage(folders: Sequence[Path]) -> int:
    """Bytes allocated under ``folders``, as far as files stay there while it is read."""
    total = 0
    for folder in folders:
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    is_folder = entry.is_dir(follow_symlinks=False)
                    blocks = entry.stat(follow_symlinks=False).st_blocks
                    total += disk_usage([Path(entry)]) if is_folder else blocks * 512
    return total


@dataclass(frozen=True)
class Spread:
    """Median and extremes of several values."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Optional[Spread]:
    """The spread of the ratio pair by pair, ``None`` where there is nothing to compare with."""
    pairs = [a / b for a, b in zip(ours, theirs) if b]
    return Spread.of(pairs) if pairs else None
