"""Starting an app: arguments in skopeo's manner, usage errors in three lines with exit code 2."""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
from collections.abc import Iterator, Mapping

import typer

from loader.cli.options import spread_flags

_M_MMAP_THRESHOLD = -3  # malloc.h of glibc
_LARGE = 2**20


def invoke(app: typer.Typer, verbs: Mapping[str, tuple[str, ...]]) -> None:
    """Run ``app`` on the process's arguments and exit with its code.

    ``verbs`` are the modules that register commands with the names of those: the one asked for is imported, and all
    of them where none is.
    """
    _give_large_blocks_back()
    arguments = spread_flags(sys.argv[1:])
    verb = next((argument for argument in arguments if not argument.startswith("-")), None)
    with nothing_to_collect():
        for module in [module for module, names in verbs.items() if verb in names] or verbs:
            importlib.import_module(module)
    app(args=arguments)


@contextlib.contextmanager
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


def _give_large_blocks_back() -> None:
    """Have glibc return blocks of a MiB and more when freed: it would keep some for every thread that had one."""
    with contextlib.suppress(ImportError, AttributeError, OSError, TypeError):
        import ctypes

        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)
