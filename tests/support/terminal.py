"""A person at a terminal with one drive: a program under a pty, and what is in the drive changed when it asks."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PROMPT = re.compile(r"Insert disc (\S+) of (\d+), label (\w+?_([VP]\d\d))\b[^\n]*: $")
_PATIENCE = 120.0


@dataclass(frozen=True)
class Session:
    """How a run on a terminal ended: status (negative: the signal), what was shown, discs asked for in order."""

    status: int
    text: str
    asked: list[str]

    def expect(self, status: int = 0) -> Session:
        assert self.status == status, f"exit {self.status}, not {status}\n{self.text}"
        return self


@dataclass
class Tray:
    """One path that is the drive: a link to what was put in. ``put`` changes it at once, as a mount point changes."""

    path: Path
    folder: Path
    suffix: str = ""
    history: list[str] = field(default_factory=list)

    def put(self, name: str) -> None:
        self.put_path(self.folder / f"{name}{self.suffix}")
        self.history.append(name)

    def put_path(self, path: Path) -> None:
        fresh = self.path.with_name(f".{self.path.name}.new")
        fresh.symlink_to(path)
        fresh.replace(self.path)

    def empty(self) -> None:
        self.path.unlink(missing_ok=True)


Answer = Callable[[str, int], bool]
"""Gets the disc asked for (``v02``) and the number of the question; False kills the program as a power cut does."""


def at_terminal(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str], answer: Answer, presses_enter: bool = False
) -> Session:
    """Run ``command`` on a terminal of its own and answer its questions for discs."""
    master, slave = pty.openpty()
    running = subprocess.Popen(
        list(command), cwd=cwd, env={**env, "TERM": "xterm"}, stdin=slave, stdout=slave, stderr=slave, close_fds=True,
        start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    shown, asked = "", []
    handled = 0
    deadline = time.monotonic() + _PATIENCE
    try:
        while time.monotonic() < deadline:
            ready, _, _ = select.select([master], [], [], 0.2)
            if ready:
                try:
                    data = os.read(master, 65536)
                except OSError:
                    break  # the program closed its end
                if not data:
                    break
                shown += data.decode("utf-8", "replace")
            elif running.poll() is not None:
                break
            found = PROMPT.search(shown[handled:])
            if found:
                handled = len(shown)
                asked.append(found[4].lower())
                if not answer(asked[-1], len(asked)):
                    running.send_signal(signal.SIGKILL)
                elif presses_enter:
                    os.write(master, b"\n")
        return Session(running.wait(timeout=10), shown.replace("\r\n", "\n"), asked)
    finally:
        if running.poll() is None:
            running.kill()
            running.wait()
        os.close(master)
