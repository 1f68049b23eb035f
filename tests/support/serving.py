"""``airgap-loader serve`` as a process of its own, on a free port of loopback."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.cli import Cli

_STOP_SECONDS = 20


@dataclass
class Serving:
    """A registry that answers: its ``host:port``, what it said it serves, and how to end it."""

    host: str
    document: dict[str, Any]
    process: subprocess.Popen[str]

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """End it by a signal; return its exit code and what it wrote to stderr."""
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=_STOP_SECONDS)
        return self.process.returncode, err


@contextlib.contextmanager
def serving(cli: Cli, *args: object) -> Iterator[Serving]:
    """Serve ``args`` until the block ends."""
    command = cli.command("airgap-loader", "serve", *args, "--listen", "127.0.0.1:0", "--json")
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=cli.folder, env=cli.variables(), text=True, **pipes)  # type: ignore[call-overload] # of a dict
    try:
        yield Serving(*_ready(process), process)
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=_STOP_SECONDS)


def _ready(process: subprocess.Popen[str]) -> tuple[str, dict[str, Any]]:
    """Wait for the document that says where; it ends with the first line that is a closing brace."""
    lines: list[str] = []
    for line in process.stdout or ():
        lines.append(line)
        if line == "}\n":
            document = json.loads("".join(lines))
            return document["url"].partition("//")[2], document
    pytest.fail(f"serve ended: {process.communicate(timeout=_STOP_SECONDS)[1]}")
