"""Fake executables: small real programs that answer from a table and record how they were called.

Nothing patches ``subprocess``: the code under test starts a process and finds the fake under its name.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_SCRIPT = """#!{python} -IS
import json, sys, time
stdin = sys.stdin.buffer.read().decode("utf-8", "replace")
folder, replies = {folder!r}, json.loads({replies!r})
argv = sys.argv[1:]
log = folder + "/calls.jsonl"
with open(log, "a", encoding="utf-8") as file:
    file.write(json.dumps({{"argv": argv, "stdin": stdin}}) + "\\n")
with open(log, encoding="utf-8") as file:
    earlier = [json.loads(line)["argv"] for line in file][:-1]
def fits(reply, words):
    return all(word in " ".join(words) for word in reply["when"])
def choose(words):
    for reply in replies:
        if fits(reply, words) and (reply["times"] is None or reply["given"] < reply["times"]):
            reply["given"] += 1
            return reply
for reply in replies:
    reply["given"] = 0
for words in earlier:
    choose(words)
reply = choose(argv)
if reply is None:
    sys.stderr.write("fake: no reply for " + " ".join(argv) + "\\n")
    sys.exit(97)
time.sleep(reply["delay"])
sys.stdout.write(reply["stdout"] * reply["repeat"])
sys.stdout.flush()
sys.stderr.write(reply["stderr"])
sys.exit(reply["status"])
"""


@dataclass(frozen=True)
class Reply:
    """What the fake answers to a call whose arguments contain every word of ``when``.

    The first reply that fits is given; one with ``times`` only that often. ``delay`` is in seconds, ``repeat`` prints
    ``stdout`` that many times.
    """

    when: tuple[str, ...] = ()
    stdout: str = ""
    stderr: str = ""
    status: int = 0
    times: int | None = None
    delay: float = 0.0
    repeat: int = 1


@dataclass(frozen=True)
class FakeCall:
    """One call as the fake saw it."""

    argv: tuple[str, ...]
    stdin: str


@dataclass(frozen=True)
class FakeBin:
    """A fake on disk; ``path`` is the program, its folder goes on PATH."""

    path: Path

    def calls(self) -> tuple[FakeCall, ...]:
        """Return every call so far."""
        log = self.path.parent / f".{self.path.name}" / "calls.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        return tuple(FakeCall(tuple(call["argv"]), call["stdin"]) for call in map(json.loads, lines))


def fake_bin(folder: Path, name: str, replies: Sequence[Reply] = (Reply(),)) -> FakeBin:
    """Write the executable ``folder/name`` that gives ``replies``; an unexpected call ends with status 97."""
    state = folder / f".{name}"
    state.mkdir(parents=True)
    table = json.dumps([asdict(reply) for reply in replies])
    path = folder / name
    path.write_text(_SCRIPT.format(python=sys.executable, folder=str(state), replies=table))
    path.chmod(0o755)
    return FakeBin(path)
