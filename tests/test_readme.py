"""What the README says of the programs is so: help, commands, exit codes, targets, keys of the policy, links."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
from pathlib import Path

import pytest

from bundler.config import parse_config, read_file
from loader.bundle import errors
from loader.bundle.keys import ALGORITHMS
from loader.bundle.limits import FRAME, MAX_DOCUMENT, MAX_HEAD_FILE, MAX_MANIFEST, MAX_MEMBERS, MAX_SIGNATURE, MIB
from loader.bundle.manifest import ACTIONS, OTHERWISE, PHASES, POLICIES, BundleManifest
from loader.bundle.ocimanifest import MAX_CHILDREN, MAX_LAYERS
from loader.bundle.policy import Rule
from loader.bundle.strictjson import json_name
from loader.trust import load_trust
from tests.support.bundles import make_signer
from tests.support.transcripts import agree, fenced, section, typed
from tests.tools.readme import commands, help_blocks, help_of

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FORMAT = (ROOT / "docs/format.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
LATER = "Not in this version"
# Older ones, all there is for Python 3.9, word and lay out their help in another way.
SAME_HELP = tuple(map(int, importlib.metadata.version("typer").split(".")[:2])) >= (0, 28)


COMMANDS = commands()
RENEW = "python -m tests.tools.readme writes the README's help blocks anew"
CONFIG = "name: a\nversion: b\nregistry: r.example\nimages:\n- docker.io/a/b:c\n"
# What a config may come to say, as the README calls it.
FEATURES = {
    "`platforms`": CONFIG + "platforms: [linux/amd64]\n",
    "`fromDirs`": CONFIG + "- fromDirs: mirror/*\n",
    "`oci:`": CONFIG + "- {image: docker.io/a/d:e, from: 'oci:folder'}\n",
    "`auto`": CONFIG + "rook: {version: v1.5.0, operatorNamespace: auto}\n",
    "`pin`": CONFIG + "manifests:\n- {path: toolbox.yaml, phase: after-rook, pin: true}\n",
}


def named_commands(text: str) -> set[str]:
    return set(re.findall(r"(?:`|^\$ |^)(airgap-(?:bundler|loader) [a-z][a-z-]*)", text, re.MULTILINE))


def options(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", re.sub(r" {2,}\S.*\n(?! +-)", "\n", text)))


def table(text: str) -> list[list[str]]:
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_every_command_has_its_help_shown() -> None:
    assert list(help_blocks(README)) == COMMANDS, RENEW


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_what_the_program_prints(command: str) -> None:
    shown, printed = help_blocks(README)[command], help_of(command)
    if SAME_HELP:
        assert shown == printed, RENEW
    assert options(shown) == options(printed)


def test_the_table_of_commands_is_complete() -> None:
    rows = table(section(README, "Commands"))
    assert sorted(row[0].strip("`") for row in rows) == sorted(COMMANDS)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_that_is_named_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.name == "README.md":
        later = section(text, LATER)
        assert named_commands(later) & set(COMMANDS) == set(), "it is there: take it out of this table"
        text = text.replace(later, "")
    assert named_commands(text) <= set(COMMANDS)


@pytest.mark.parametrize("feature", FEATURES)
def test_what_a_config_may_not_say_yet_is_said(feature: str) -> None:
    try:
        parse_config(FEATURES[feature].encode(), directory=ROOT, what="bundle.yaml", read=read_file)
        faults = ""
    except errors.ConfigError as error:
        faults = str(error.faults)
    assert ("later release" in faults) == (feature in section(README, LATER)), faults


def test_named_commands_finds_them() -> None:
    text = "`airgap-loader verify X` and\n$ airgap-bundler nothing\nbut the airgap-loader itself"
    assert named_commands(text) == {"airgap-loader verify", "airgap-bundler nothing"}


def test_the_exit_codes_are_those_of_the_errors() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.AirgapError)]
    rows = table(section(README, "Exit codes"))
    assert {int(row[0]) for row in rows} == {0} | {kind.exit_code for kind in kinds}
    assert len({row[0] for row in rows}) == len(rows)


def test_every_target_for_people_that_is_named_exists_and_two_lead() -> None:
    done = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    targets = {line.split()[0] for line in done.stdout.splitlines()}
    named = set(re.findall(r"(?:`|^\$ )make ([a-z-]+)", README, re.MULTILINE))
    assert named <= targets
    first = [
        one.command for _, block in list(fenced(README, "console"))[:2] for one in typed(f"```console\n{block}```")
    ]
    assert first == ["make demo", "make test"]


def test_the_policy_shown_is_read_as_it_says(tmp_path: Path) -> None:
    (shown,) = (block for _, block in fenced(section(README, "Trust"), "toml"))
    (tmp_path / "policy.toml").write_text(shown)
    for name in ("builder", "approver"):
        (tmp_path / f"{name}.pub").write_bytes(make_signer(name).public.pem)
    policy = load_trust(tmp_path)
    assert policy.rule == Rule(2, ("approver",))
    assert policy.names == {"rook-ceph": Rule(1, ("approver",))}
    assert policy.algorithms == ALGORITHMS
    assert policy.enforce_not_after
    assert len(policy.revoked) == 1


def anchors(path: Path) -> set[str]:
    """What the headings of a document are called in links."""
    headings = re.findall(r"^#+ (.*)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", text)):
        target, _, fragment = link.partition("#")
        if "://" not in link:
            other = path.parent / target if target else path
            assert other.exists(), link
            assert not fragment or fragment in anchors(other), link


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_are_named_exist(path: Path) -> None:
    named = re.findall(r"`((?:loader|bundler|tests|schemas|docs|demo|release)/[\w./-]*)`", path.read_text("utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_format_says_every_field_and_word() -> None:
    fields = {json_name(name) for name in BundleManifest.__dataclass_fields__}
    assert {f"`{name.strip('[]')}" for name in fields} <= set(re.findall(r"`\w+", FORMAT))
    for words in (PHASES, ACTIONS, OTHERWISE, POLICIES, ALGORITHMS):
        assert [word for word in words if f"`{word}`" not in FORMAT] == []


def test_the_format_says_the_caps() -> None:
    (caps,) = (part for part in FORMAT.split("\n\n") if part.startswith("Caps, for every reader"))
    found = [int(number.replace(",", "")) for number in re.findall(r"\b[\d,]*\d\b", caps)]
    assert found[:2] == [MAX_MEMBERS, MAX_HEAD_FILE // MIB]
    assert f"{MAX_SIGNATURE // 1024} KiB" in caps
    assert f"{MAX_MANIFEST // MIB} MiB for a manifest" in caps
    assert MAX_DOCUMENT == MAX_MANIFEST
    assert MAX_CHILDREN == MAX_LAYERS == 1000
    assert f"({FRAME:,})" in FORMAT


def test_the_steps_have_the_same_numbers_everywhere() -> None:
    steps = re.findall(
        r"^ *(?:(\d)\. )?\*\*(?:(\d\w)\. )?(\w+)\.\*\*", section(FORMAT, "7. Reading, step by step"), re.MULTILINE
    )
    named = {first or second: name for first, second, name in steps if first or second}
    assert sorted(named) == ["1", "2", "3", "4", "4b", "5", "6", "7"]
    security = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    for number, name in named.items():
        assert re.search(rf"^\| {number} \| {name} \|", security, re.MULTILINE), f"step {number}, {name}"


def test_every_test_that_security_names_exists() -> None:
    security = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", security)
    assert len(named) > 20
    missing = [f"{path}::{name}" for path, name in named if f"def {name}(" not in (ROOT / path).read_text("utf-8")]
    assert missing == []


def test_agreeing_outputs() -> None:
    assert agree("a 0.1 s\n[…]\nz\n", "a 0.3 s\nb\nc\nz\n")
    assert agree("", "")
    assert not agree("", "a\n")
    assert not agree("a\n[…]\nz\n", "a\nb\n")
    assert not agree("a\nb\n", "a\n")
    assert agree(f"id {'0' * 64}", f"id {'f' * 64}")
