"""Completion for shells: a script made from the commands once, so that no program runs while somebody types."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import typer


class Shell(str, enum.Enum):
    """The shells that there is a script for."""

    bash = "bash"
    zsh = "zsh"


@dataclass(frozen=True)
class Verb:
    """A command as completion sees it; ``path`` is ``/trust/add``, of the program itself empty.

    ``values`` are the options that take a value: each with its choices, or with none where any word does.
    """

    path: str
    words: tuple[str, ...]
    options: tuple[str, ...]
    values: dict[str, tuple[str, ...]] = field(default_factory=dict)


def completion_script(app: typer.Typer, program: str, shell: Shell) -> str:
    """The script for ``program``, whose commands are all registered on ``app``; ASCII, ends with a line feed."""
    script = _bash(program, list(_walk(typer.main.get_command(app))))
    if shell is Shell.zsh:
        return f"#compdef {program} {program}.pyz\nautoload -U +X bashcompinit && bashcompinit\n{script}"
    return script


def _walk(command: Any, path: str = "") -> Iterator[Verb]:
    options, values = [], {}
    for parameter in command.params:
        if parameter.param_type_name == "option":
            options += [*parameter.opts, *parameter.secondary_opts]
            if not parameter.is_flag:
                choices = tuple(map(str, getattr(parameter.type, "choices", ())))
                values.update(dict.fromkeys(parameter.opts, choices))
    below = getattr(command, "commands", {})
    yield Verb(path, tuple(sorted(below)), (*options, "--help"), values)
    for name in sorted(below):
        yield from _walk(below[name], f"{path}/{name}")


def _bash(program: str, verbs: list[Verb]) -> str:
    name = f"_{program.replace('-', '_')}"
    paths = "|".join(verb.path for verb in verbs if verb.path)
    known = "".join(
        f'    "{verb.path}") words="{" ".join(verb.words)}" options="{" ".join(verb.options)}" '
        f'texts="{" ".join(option for option, choices in verb.values.items() if not choices)}" ;;\n'
        for verb in verbs
    )
    chosen = "".join(
        f'    "{verb.path}:{option}") choices="{" ".join(choices)}" ;;\n'
        for verb in verbs
        for option, choices in verb.values.items()
        if choices
    )
    return f"""{name}() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
  local verb= words= options= texts= choices= i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$verb/${{COMP_WORDS[i]}}" in {paths}) verb=$verb/${{COMP_WORDS[i]}} ;; esac
  done
  case "$verb" in
{known}  esac
  case "$verb:$before" in
{chosen}  esac
  # Behind an option that takes a file or a word of one's own the shell offers files.
  case " $texts " in *" $before "*) return ;; esac
  if [ -n "$choices" ]; then
    COMPREPLY=($(compgen -W "$choices" -- "$word"))
  elif [ "${{word#-}}" != "$word" ]; then
    COMPREPLY=($(compgen -W "$options" -- "$word"))
  elif [ -n "$words" ]; then
    COMPREPLY=($(compgen -W "$words" -- "$word"))
  fi
}}
complete -o default -F {name} {program} {program}.pyz
"""
