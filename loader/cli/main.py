"""Starting an app: arguments in skopeo's manner, usage errors in three lines with exit code 2."""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
from collections.abc import Mapping
from typing import Any

import typer

from loader.bundle.errors import AirgapError, ConfigError, Interrupted, StorageError
from loader.cli.console import Console
from loader.cli.options import spread_flags
from loader.cli.streams import prepare_streams, silence
from loader.interpreter import nothing_to_collect

_M_MMAP_THRESHOLD = -3  # malloc.h of glibc
_LARGE = 2**20
# Of click, or of the click that newer releases of typer carry inside.
_UsageError: Any = typer.BadParameter.__mro__[1]


def invoke(app: typer.Typer, verbs: Mapping[str, tuple[str, ...]]) -> None:
    """Run ``app`` on the process's arguments and exit with its code.

    ``verbs`` are the modules that register commands with the names of those: the one asked for is imported, and all
    of them where none is.
    """
    prepare_streams()
    _give_large_blocks_back()
    arguments = spread_flags(sys.argv[1:])
    verb = next((argument for argument in arguments if not argument.startswith("-")), None)
    with nothing_to_collect():
        for module in [module for module, names in verbs.items() if verb in names] or verbs:
            importlib.import_module(module)
    status = _status(app, arguments)
    # At its end the interpreter looks through all there is for garbage, several times: 30 ms for nothing.
    gc.freeze()
    sys.exit(status)


def _status(app: typer.Typer, arguments: list[str]) -> int:
    """Run ``app`` and return its exit code; what was typed wrong is told as any other error is."""
    try:
        status: int = app(args=arguments, prog_name=app.info.name, standalone_mode=False) or 0
        sys.stdout.flush()  # help and version are printed by others, and may stand in a buffer yet
    except _UsageError as error:
        return _misused(error, arguments)
    except typer.Abort:
        return Interrupted.exit_code
    except OSError as error:
        return _unprinted(error, arguments)
    return status


def _misused(error: Any, arguments: list[str]) -> int:
    if error.ctx is None or type(error).__name__ == "NoArgsIsHelpError":
        error.show()  # the help: nothing was typed
        return ConfigError.exit_code
    command, said = error.ctx.command_path, _sentence(error)
    if said.endswith("is not readable"):  # click looks at a path before we do: what was typed is right
        return _failed(StorageError(f"{command}: {said}", why="this user may not read it"), arguments)
    usage = " ".join(error.ctx.get_usage().split()).removeprefix("Usage: ")
    hint = f"{command} --help tells what it takes"
    return _failed(ConfigError(f"{command}: {said}", why=f"usage: {usage}", hint=hint), arguments)


def _unprinted(error: OSError, arguments: list[str]) -> int:
    silence(sys.stdout)
    if isinstance(error, BrokenPipeError):
        return 0  # the reader had enough, as `| head` has
    why = error.strerror or str(error)
    return _failed(StorageError("not all could be printed", why=why, hint="make room where it goes"), arguments)


def _failed(error: AirgapError, arguments: list[str]) -> int:
    Console(as_json="--json" in arguments).failure(error)
    return error.exit_code


def _sentence(error: Any) -> str:
    said = str(error.format_message()).rstrip(".")
    return said[:1].lower() + said[1:]


def _give_large_blocks_back() -> None:
    """Have glibc return blocks of a MiB and more when freed: it would keep some for every thread that had one."""
    with contextlib.suppress(ImportError, AttributeError, OSError, TypeError):
        import ctypes

        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)
