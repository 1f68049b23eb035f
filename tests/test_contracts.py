"""What two files say about one thing is the same: packaging, Makefile, documents, versions."""

from __future__ import annotations

import ast
import fnmatch
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import loader

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def test_the_version_is_one() -> None:
    assert PYPROJECT["project"]["version"] == loader.__version__


def test_the_changelog_has_this_version() -> None:
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert loader.__version__ in versions


def test_the_floor_is_one() -> None:
    floor = PYPROJECT["project"]["requires-python"].removeprefix(">=")
    assert PYPROJECT["tool"]["ruff"]["target-version"] == "py" + floor.replace(".", "")
    oldest = re.search(r"^OLDEST = \((\d+), (\d+)\)", (ROOT / "tests/tools/pythons.py").read_text(), re.MULTILINE)
    assert oldest is not None
    assert f"{oldest[1]}.{oldest[2]}" == floor


@pytest.mark.parametrize("script", sorted(PYPROJECT["project"]["scripts"]))
def test_scripts_start_something(script: str) -> None:
    module, _, function = PYPROJECT["project"]["scripts"][script].partition(":")
    base = ROOT.joinpath(*module.split("."))
    source = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    names = set()
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    assert function in names


@pytest.mark.parametrize("package", ["loader", "bundler"])
def test_the_wheel_has_every_data_file(package: str) -> None:
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"].get(package, [])
    files = [path.relative_to(ROOT / package) for path in (ROOT / package).rglob("*") if path.is_file()]
    data = [path.as_posix() for path in files if path.suffix not in {".py", ".pyc"}]
    assert [name for name in data if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)] == []


def test_help_lists_every_target_for_people() -> None:
    done = subprocess.run(
        ["make", "-s", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    listed = done.stdout
    # venv and programs are steps of the others.
    assert {line.split()[0] for line in listed.splitlines()} == TARGETS - {"venv", "programs"}


def test_every_target_is_phony() -> None:
    # A folder named bench would otherwise be an up-to-date target.
    assert set(re.findall(r"^\.PHONY: (\S+)", MAKEFILE, re.MULTILINE)) == TARGETS


def documents() -> list[Path]:
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / ".ci" / "run"]


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_documents_name_targets_that_are_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = re.findall(r"(?:`|^\$ |^)make ((?:[a-z-]+ ?)+)", text, re.MULTILINE)
    assert {word for words in named for word in words.split()} <= TARGETS


def test_schemas_say_what_they_are() -> None:
    schemas = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "schemas").glob("*.json")}
    assert schemas
    assert {schema["$schema"] for schema in schemas.values()} == {"https://json-schema.org/draft/2020-12/schema"}
    assert [name for name, schema in schemas.items() if not schema.get("title")] == []
