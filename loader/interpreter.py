"""The interpreter's own dials, turned while something is done."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TURN = 0.0005


@contextmanager
def quick_turns() -> Iterator[None]:
    """Let a thread that has hashed have the interpreter's lock after half a millisecond, not after the usual five.

    For a thread that computes or imports beside others that hash: those wait for the lock once per piece.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(_TURN)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def nothing_to_collect() -> Iterator[None]:
    """Keep the collector from looking for garbage in what is made meanwhile, then and later.

    For what lives as long as the process: imports (a sixth of the start-up), a plan (an eighth of it).
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
