"""The rules of the house hold for every file; and each rule finds what it is there to find."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import loader
from loader.bundle import errors
from tests.support import sourcerules

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
OURS = ("loader", "bundler", "tests", "bench", "demo")
PRODUCT = ("loader", "bundler")
TEXT_SUFFIXES = {".py", ".md", ".toml", ".json", ".yaml", ".yml", ".sh", ".mod", ".txt", ".conf", ".html", ""}

Rule = Callable[[str, str], list[str]]
RULES: dict[str, tuple[Rule, tuple[str, ...]]] = {
    "the loader imports pure packages and never the bundler": (sourcerules.loader_imports, ("loader",)),
    "the trust core knows itself alone": (sourcerules.trust_core_imports, ("loader/bundle",)),
    "only the verifier makes proofs": (sourcerules.forged_proofs, PRODUCT),
    "nothing below the command line reads the environment": (sourcerules.environment_reads, PRODUCT),
    "nothing below the command line catches everything": (sourcerules.broad_handlers, PRODUCT),
    "modules and functions are read in one go": (sourcerules.sizes, PRODUCT),
    "nothing is left open": (sourcerules.unfinished, OURS),
}


def python_files(folder: str) -> Iterator[Path]:
    return (path for path in sorted((ROOT / folder).rglob("*.py")) if "__pycache__" not in path.parts)


def faults_in(rule: Rule, folder: str) -> list[str]:
    named = [(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in python_files(folder)]
    return [f"{name}:{fault}" for name, source in named for fault in rule(source, name)]


@pytest.mark.parametrize("name", RULES)
def test_rule_holds(name: str) -> None:
    rule, folders = RULES[name]
    assert [fault for folder in folders for fault in faults_in(rule, folder)] == []


# One row for each way around a rule: the rule, where the module would stand, what it would say.
BROKEN = [
    (sourcerules.loader_imports, "loader/load.py", "import bundler.config"),
    (sourcerules.loader_imports, "loader/load.py", "def f():\n    from bundler import config"),
    (sourcerules.loader_imports, "loader/load.py", "import importlib\nimportlib.import_module('bundler.config')"),
    (sourcerules.loader_imports, "loader/load.py", "import yaml"),
    (sourcerules.loader_imports, "loader/load.py", "import zstandard"),
    (
        sourcerules.loader_imports,
        "loader/load.py",
        "try:\n    f()\nexcept OSError:\n    pass\nelse:\n    import cryptography",
    ),
    (sourcerules.trust_core_imports, "loader/bundle/verify.py", "import socket"),
    (sourcerules.trust_core_imports, "loader/bundle/verify.py", "from urllib import request"),
    (sourcerules.trust_core_imports, "loader/bundle/verify.py", "def f():\n    import subprocess"),
    (sourcerules.trust_core_imports, "loader/bundle/verify.py", "import os\nos.execvp('sh', ['sh'])"),
    (sourcerules.trust_core_imports, "loader/bundle/verify.py", "from loader import zstd"),
    (sourcerules.trust_core_imports, "loader/bundle/verify.py", "from ..oci import model"),
    (sourcerules.trust_core_imports, "loader/bundle/verify.py", "import loader.oci.model"),
    (sourcerules.trust_core_imports, "loader/bundle/verify.py", "import typer"),
    (sourcerules.forged_proofs, "loader/load.py", "bundle = VerifiedBundle(head)"),
    (sourcerules.forged_proofs, "bundler/build.py", "from loader.bundle import verify\nverify.Complete()"),
    (sourcerules.forged_proofs, "loader/load.py", "object.__new__(VerifiedBundle)"),
    (sourcerules.forged_proofs, "loader/load.py", "verify.Complete.__new__(verify.Complete)"),
    (sourcerules.forged_proofs, "loader/bundle/archive.py", "class Quick(VerifiedBundle): pass"),
    (sourcerules.environment_reads, "loader/load.py", "import os\nos.environ['HOME']"),
    (sourcerules.environment_reads, "loader/load.py", "from os import getenv"),
    (sourcerules.environment_reads, "bundler/build.py", "import os\nos.path.expanduser('~')"),
    (sourcerules.environment_reads, "bundler/build.py", "import pathlib\npathlib.Path.home()"),
    (sourcerules.environment_reads, "loader/cluster/kubectl.py", "import shutil\nshutil.which('oc')"),
    (sourcerules.broad_handlers, "loader/load.py", "try:\n    f()\nexcept:\n    pass"),
    (sourcerules.broad_handlers, "loader/load.py", "try:\n    f()\nexcept Exception:\n    pass"),
    (sourcerules.broad_handlers, "loader/load.py", "try:\n    f()\nexcept (OSError, BaseException):\n    raise"),
    (
        sourcerules.broad_handlers,
        "bundler/build.py",
        "import contextlib\nwith contextlib.suppress(Exception):\n    f()",
    ),
    (sourcerules.sizes, "loader/load.py", "a = 1\n" * 401),
    (sourcerules.sizes, "loader/load.py", "def f():\n" + "    a = 1\n" * 50),
    (sourcerules.sizes, "loader/oci/utils.py", "a = 1"),
    (sourcerules.unfinished, "loader/load.py", "a = 1  # TO" + "DO: b"),
    (sourcerules.unfinished, "loader/load.py", 'def f():\n    """FIX' + 'ME later."""'),
    (sourcerules.unfinished, "loader/load.py", "def f():\n    raise NotImplementedError('later')"),
    (sourcerules.unfinished, "tests/unit/test_a.py", "import pytest\n@pytest.mark.skip\ndef test_a(): ..."),
    (sourcerules.unfinished, "tests/unit/test_a.py", "import pytest\nx = pytest.importorskip('x')"),
]


@pytest.mark.parametrize(("rule", "path", "source"), BROKEN)
def test_rule_finds(rule: Rule, path: str, source: str) -> None:
    assert len(rule(source, path)) >= 1


# What stands beside the broken rows and is allowed.
SOUND = [
    (
        sourcerules.loader_imports,
        "loader/zstd.py",
        "try:\n    import zstandard\nexcept ImportError:\n    zstandard = None",
    ),
    (sourcerules.loader_imports, "loader/zstd.py", "def f():\n    from cryptography import x509\n    import tomllib"),
    (sourcerules.loader_imports, "loader/cli/main.py", "import typer, rich.progress, urllib3\nfrom loader import load"),
    (sourcerules.trust_core_imports, "loader/bundle/head.py", "from __future__ import annotations\nfrom . import keys"),
    (
        sourcerules.trust_core_imports,
        "loader/bundle/head.py",
        "from loader.bundle import keys\nimport os\nos.stat('x')",
    ),
    (sourcerules.forged_proofs, "loader/bundle/verify.py", "VerifiedBundle(head)"),
    (sourcerules.forged_proofs, "loader/load.py", "def f(bundle: VerifiedBundle) -> Complete: ..."),
    (sourcerules.environment_reads, "loader/cli/main.py", "import os\nos.environ"),
    (sourcerules.environment_reads, "loader/load.py", "import shutil\nshutil.which('oc', path=path)\nsettings.environ"),
    (sourcerules.broad_handlers, "bundler/cli/app.py", "try:\n    f()\nexcept Exception:\n    pass"),
    (sourcerules.sizes, "loader/load.py", "def f():\n" + "    a = 1\n" * 49),
    (sourcerules.unfinished, "loader/load.py", "x = 'skip'\nwish.skip()"),
]


@pytest.mark.parametrize(("rule", "path", "source"), SOUND)
def test_rule_allows(rule: Rule, path: str, source: str) -> None:
    assert rule(source, path) == []


def text_files() -> Iterator[Path]:
    for top in [*OURS, "docs", "schemas", ".ci"]:
        for path in sorted((ROOT / top).rglob("*")):
            if path.is_file() and path.suffix in TEXT_SUFFIXES and "__pycache__" not in path.parts:
                yield path
    yield from (path for path in sorted(ROOT.iterdir()) if path.is_file() and path.suffix in TEXT_SUFFIXES - {""})
    yield ROOT / "Makefile"


def test_no_file_names_the_machine_it_was_written_on() -> None:
    # A place of one part, as /src, is a word of its own in other texts.
    places = tuple(str(place) for place in (ROOT, Path.home()) if len(place.parts) > 2)
    named = [(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in text_files()]
    found = [f"{name}:{fault}" for name, text in named for fault in sourcerules.machine_paths(text, places=places)]
    # This file shows what is refused; nothing else may.
    assert [line for line in found if not line.startswith("tests/test_architecture.py:")] == []


@pytest.mark.parametrize(
    "text", ["see /home/eve/src/x", "cd /work/y", "HOME=/root/", "/srv/checkout/tests", "/srv/checkout"]
)
def test_machine_paths_are_found(text: str) -> None:
    assert sourcerules.machine_paths(text, places=("/srv/checkout",)) != []


@pytest.mark.parametrize(
    "text", ["noexec /home", "docker.io/root/x", "a registry.example/work/b", "/srv/checkout-2", "/"]
)
def test_other_paths_are_not(text: str) -> None:
    assert sourcerules.machine_paths(text, places=("/srv/checkout", "/")) == []


@pytest.mark.parametrize("verb", ["bundler.build", "loader.verdict, loader.opening, loader.claims"])
def test_who_builds_or_verifies_does_not_talk_to_clusters(verb: str) -> None:
    line = f"import sys, {verb}; print(*(name for name in sys.modules if name.startswith('loader.cluster.')))"
    done = subprocess.run([sys.executable, "-c", line], cwd=ROOT, check=True, capture_output=True, text=True)
    # What a manifest is made of and how Rook numbers its releases is known on the connected side as well.
    assert set(done.stdout.split()) <= {"loader.cluster.objects", "loader.cluster.rookrange"}


def project() -> dict[str, object]:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert isinstance(table, dict)
    return table


def test_a_new_dependency_is_a_decision() -> None:
    wanted = project()["dependencies"]
    assert isinstance(wanted, list)
    names = {canonicalize_name(Requirement(line).name) for line in wanted}
    assert names == sourcerules.PURE_PACKAGES | sourcerules.COMPILED_PACKAGES | {"pyyaml"}


def closure(names: frozenset[str]) -> dict[str, importlib.metadata.Distribution]:
    """Return what pip installs on this Python for ``names``, by canonical name; extras left out."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        found[name] = importlib.metadata.distribution(name)
        needed = [Requirement(line) for line in found[name].requires or []]
        active = {canonicalize_name(req.name) for req in needed if not req.marker or req.marker.evaluate({"extra": ""})}
        waiting |= active - found.keys()
    return found


def compiled_files(distribution: importlib.metadata.Distribution) -> list[str]:
    return [str(file) for file in distribution.files or [] if file.suffix in {".so", ".pyd", ".dylib"}]


def test_what_travels_with_the_loader_is_pure_python() -> None:
    # tomli is needed below 3.11 only; PyPI has it compiled for some Pythons and pure for all.
    travelling = closure(sourcerules.PURE_PACKAGES - {"tomli"})
    compiled = {name: compiled_files(distribution) for name, distribution in travelling.items()}
    assert {name: files for name, files in compiled.items() if files} == {}


def test_compiled_packages_are_told_apart() -> None:
    assert compiled_files(importlib.metadata.distribution("zstandard")) != []


def drawn_errors(docstring: str) -> dict[str, tuple[str, int]]:
    """Read the error tree: name -> (parent, exit code), an unwritten code being the parent's."""
    drawn: dict[str, tuple[str, int]] = {}
    parents = ["Exception"]
    for line in docstring.splitlines():
        match = re.match(r"    ((?:│  |   )*(?:├─ |└─ )?)(\w+) +(\d+)? ", line)
        if match is None:
            continue
        depth = len(match[1]) // 3
        parent = parents[depth]
        parents[depth + 1 :] = [match[2]]
        drawn[match[2]] = (parent, int(match[3]) if match[3] else drawn.get(parent, ("", 1))[1])
    return drawn


def test_the_drawn_error_tree_is_the_real_one() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.AirgapError)]
    real = {kind.__name__: (kind.__mro__[1].__name__, kind.exit_code) for kind in kinds}
    assert drawn_errors(loader.__doc__ or "") == real


def test_a_wrong_drawing_is_seen() -> None:
    drawn = drawn_errors(loader.__doc__ or "")
    assert drawn["Pending"] == ("ClusterError", 8)
    assert drawn_errors((loader.__doc__ or "").replace("│  └─ Pending ", "├─ Pending    "))["Pending"] == (
        "AirgapError",
        8,
    )
