"""Standard streams as they may be: closed, left by their reader, on a full disk, or in an alphabet of few letters."""

from __future__ import annotations

import io
import os
import sys
from typing import Optional, TextIO


def prepare_streams() -> None:
    """Open what the caller closed (``>&-``): the next file opened would get its number, and what is said to it.

    What the locale has no letter for is written as ``\\u2026`` and the like.
    """
    for name, flags, mode in (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_WRONLY, "w"), ("stderr", os.O_WRONLY, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, flags), mode))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr has it by itself


def silence(stream: TextIO) -> None:
    """Have what is still said to ``stream`` go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def write_line(stream: TextIO, text: str) -> Optional[OSError]:
    """Write a line at once, in one piece: workers trace from their threads. Return why it can't be had, if so.

    Where the reader went away (`| head`, `| grep -q`), which is no fault, or the disk is full, what was asked for is
    done all the same, and nothing more is said there: half a load because of a log would be worse.
    """
    try:
        stream.write(f"{text}\n")
        stream.flush()
    except OSError as error:
        silence(stream)
        return None if isinstance(error, BrokenPipeError) else error
    return None
