"""Completion as bash does it: the script is sourced, the words typed so far are set, the answers read."""

from __future__ import annotations

import importlib
import shlex
import subprocess

import pytest
import typer

import bundler.cli
import loader.cli
from loader.cli.completion import Shell, completion_script


def script(program: str, shell: Shell = Shell.bash) -> str:
    package = {"airgap-loader": loader.cli, "airgap-bundler": bundler.cli}[program]
    for module in package.VERBS:
        importlib.import_module(module)
    app: typer.Typer = importlib.import_module(f"{package.__name__}.app").app
    return completion_script(app, program, shell)


def answers(line: str) -> list[str]:
    words = line.split(" ")
    function = f"_{words[0].replace('-', '_')}"
    typed = f"COMP_WORDS=({' '.join(map(shlex.quote, words))}); COMP_CWORD={len(words) - 1}"
    asked = f'{script(words[0])}\n{typed}\n{function}\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-u", "-c", asked], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("airgap-loader ver", ["verify"]),
        ("airgap-loader insp", ["inspect"]),
        ("airgap-bundler attach", ["attach-signature"]),
        ("airgap-loader load --no-a", ["--no-apply"]),
        ("airgap-loader load x.tar.zst --kubec", ["--kubeconfig"]),
        ("airgap-loader load --mirrors ", ["cluster", "manual", "none"]),
        ("airgap-loader verify x --crypto o", ["openssl"]),
        ("airgap-loader load --trust ", []),
        ("airgap-loader verify ", []),
        ("airgap-loader --ver", ["--version"]),
        ("airgap-loader nonsense --ver", ["--version"]),
    ],
)
def test_what_is_offered(line: str, expected: list[str]) -> None:
    assert answers(line) == expected


def test_every_command_is_offered() -> None:
    verbs = sorted(verb for names in loader.cli.VERBS.values() for verb in names)
    assert answers("airgap-loader ") == verbs


def test_zsh_gets_the_same_behind_its_own_first_lines() -> None:
    first, second, rest = script("airgap-loader", Shell.zsh).split("\n", 2)
    assert first == "#compdef airgap-loader airgap-loader.pyz"
    assert "bashcompinit" in second
    assert rest == script("airgap-loader")
