"""The manual pages, made from what ``--help`` knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from loader import __version__
from release.programs import NAMES, whole_app

EXIT_STATUS = (
    (0, "done"),
    (1, "something else: local disk, permissions"),
    (2, "usage or config"),
    (3, "not trusted: signature, policy, replay, a hash that does not match"),
    (4, "malformed bundle: it does not decode or does not have the form"),
    (5, "a volume is missing or unreadable"),
    (6, "registry"),
    (7, "cluster"),
    (8, "applied, but a wait is not finished (timeout, paused pool): the same command goes on"),
    (130, "interrupted, or refused at a prompt"),
)
FILES = {
    "airgap-loader": (
        ("~/.config/airgap-loader/trust/, /etc/airgap-loader/trust/", "public keys NAME.pub and policy.toml"),
        ("~/.local/state/airgap-loader/", "what was imported, what a load changed, logs"),
    ),
    "airgap-bundler": (("bundle.yaml, bundle.lock", "the config, and beside it what each tag meant"),),
}


def manual(program: str) -> str:
    """The page of ``program`` in man(7)."""
    group: Any = typer.main.get_command(whole_app(program))
    return "\n".join(_page(program, group)) + "\n"


def _page(program: str, group: Any) -> Iterator[str]:
    yield f'.TH {program.upper()} 1 "" "{program} {__version__}" "User Commands"'
    yield f".SH NAME\n{_text(program)} \\- {_text(group.help)}"
    yield f".SH SYNOPSIS\n.B {_text(program)}\n.I COMMAND\n.RI [ OPTION .\\|.\\|.]"
    yield ".SH COMMANDS"
    yield from _commands(group, "")
    yield ".SH EXIT STATUS"
    for code, meaning in EXIT_STATUS:
        yield f".TP\n.B {code}\n{_text(meaning)}"
    yield ".SH FILES"
    for path, meaning in FILES[program]:
        yield f".TP\n.I {_text(path)}\n{_text(meaning)}"
    other = next(name for name in NAMES if name != program)
    yield f".SH SEE ALSO\n.BR {_text(other)} (1),\n.BR openssl (1),\n.BR sha256sum (1)"


def _commands(group: Any, before: str) -> Iterator[str]:
    for name in sorted(group.commands):
        command = group.commands[name]
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before}{name} ")
            continue
        arguments = [param for param in command.params if param.param_type_name == "argument"]
        words = [f"{before}{name}", *(param.make_metavar(_context(command)) for param in arguments)]
        yield f'.SS "{_text(" ".join(words))}"\n{_text(command.help)}'
        for param in command.params:
            if param.param_type_name == "option" and not param.hidden:
                names = ", ".join(f"\\fB{_text(option)}\\fR" for option in [*param.opts, *param.secondary_opts])
                metavar = "" if param.is_flag else f" \\fI{_text(param.make_metavar(_context(command)))}\\fR"
                yield f".TP\n{names}{metavar}\n{_text(param.help or '')}"


def _context(command: Any) -> Any:
    return typer.Context(command)


def _text(words: str) -> str:
    """``words`` as roff text: one paragraph, nothing in it is a request."""
    flat = " ".join(words.replace("…", "...").split()).replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{flat}" if flat.startswith((".", "'")) else flat
