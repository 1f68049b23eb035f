"""Write the README's help blocks anew from the programs: ``python -m tests.tools.readme``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"
BIN = Path(sys.executable).parent
PROGRAMS = ("airgap-bundler", "airgap-loader")
_BLOCK = re.compile(r"^\$ (airgap-[a-z]+ [a-z-]+) --help\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SECTION = re.compile(r"^<details>.*^</details>$", re.MULTILINE | re.DOTALL)


def help_of(command: str) -> str:
    """What ``command --help`` prints on a terminal of 80 columns."""
    program, *words = command.split()
    done = subprocess.run(
        [BIN / program, *words, "--help"],
        env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def commands() -> list[str]:
    """Every command of both programs, in the order of their help."""
    return [f"{program} {name}" for program in PROGRAMS for name in _listed(help_of(program))]


def _listed(text: str) -> Iterator[str]:
    for line in text.partition("\nCommands:\n")[2].splitlines():
        match = re.match(r"  ([a-z][a-z-]*)(?: |$)", line)
        if match:
            yield match[1]


def help_blocks(text: str) -> dict[str, str]:
    """The help that a document shows, by command."""
    return {match[1]: match[2] for match in _BLOCK.finditer(text)}


def renewed(text: str) -> str:
    """``text`` with the help of every command, as the programs print it now, in place of the blocks it has."""
    blocks = [
        f"<details><summary><code>{command} --help</code></summary>\n\n"
        f"```console\n$ {command} --help\n{help_of(command)}```\n\n</details>"
        for command in commands()
    ]
    return _SECTION.sub(lambda _: "\n\n".join(blocks), text)


if __name__ == "__main__":
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
