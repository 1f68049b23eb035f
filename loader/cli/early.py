"""Ctrl-C in the first moments, while modules are imported and options are read: no verb has begun."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_INTERRUPTED = 130


@contextmanager
def told_when_stopped() -> Iterator[None]:
    """Answer Ctrl-C in three lines with the exit code of any interruption."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n  why:  Ctrl-C, before anything was done\n  next: run it again\n")
        sys.exit(_INTERRUPTED)
