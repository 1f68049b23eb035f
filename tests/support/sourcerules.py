"""The rules of the house as functions from source text to faults; ``test_architecture.py`` runs them.

Each takes the text of one module and where it stands, and returns one line per fault: ``line: what``.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import sysconfig
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MODULE_LINES = 400
FUNCTION_LINES = 50

PURE_PACKAGES = frozenset({"typer", "rich", "urllib3", "tomli"})
COMPILED_PACKAGES = frozenset({"zstandard", "cryptography"})
# What reaches outside of the process, runs other code, or turns bytes into objects of their own choice.
OUTSIDE_TRUST_CORE = frozenset(
    {
        "_socket",
        "_ssl",
        "asyncio",
        "ctypes",
        "dbm",
        "ftplib",
        "http",
        "imaplib",
        "importlib",
        "marshal",
        "multiprocessing",
        "pickle",
        "poplib",
        "pty",
        "runpy",
        "select",
        "selectors",
        "shelve",
        "smtplib",
        "socket",
        "socketserver",
        "ssl",
        "subprocess",
        "telnetlib",
        "urllib",
        "webbrowser",
        "xmlrpc",
    }
)
PROCESS_STARTERS = re.compile(r"system|popen|fork(?:pty)?|posix_spawnp?|(?:exec|spawn)[lv]p?e?")
# Newer than some Python that runs the tests, so sys.stdlib_module_names may lack them.
NEWER_STDLIB = frozenset({"tomllib", "compression"})

PROOFS = frozenset({"VerifiedBundle", "Complete"})
PROOF_MAKER = "loader/bundle/verify.py"
COMMAND_LINE = ("loader/cli/", "bundler/cli/", "loader/__main__.py", "bundler/__main__.py")
ENVIRONMENT_NAMES = frozenset({"environ", "environb", "getenv", "getenvb", "expanduser", "expandvars", "putenv"})
CATCH_ALL = frozenset({"Exception", "BaseException"})
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
GIVING_UP = frozenset(
    {"skip", "skipif", "skipIf", "skipUnless", "xfail", "importorskip", "expectedFailure", "SkipTest"}
)
VAGUE_NAMES = frozenset({"utils", "util", "helpers", "helper", "common", "misc", "manager"})
# Homes and workspaces; tests about paths make theirs in tmp_path.
MACHINE_PATH = re.compile(r"(?<![\w.:/-])/(?:root|home/[a-z]\w*|Users/\w+|work|workspace|builds)/")


@dataclass(frozen=True)
class Import:
    """One imported module by its full name; ``optional`` where the program goes on without it."""

    name: str
    line: int
    optional: bool

    @property
    def package(self) -> str:
        """The first part of the name."""
        return self.name.split(".")[0]


def stdlib_names() -> frozenset[str]:
    """Return the top-level names of the standard library."""
    folder = Path(sysconfig.get_path("stdlib"))
    # sys has the list from 3.10 on.
    names = getattr(sys, "stdlib_module_names", None) or {entry.name.split(".")[0] for entry in folder.iterdir()}
    return NEWER_STDLIB.union(sys.builtin_module_names, names)


def imports(source: str, path: str = "module.py") -> list[Import]:
    """List every import, those inside functions and conditions included, relative ones made absolute."""
    return list(_imports(ast.parse(source), PurePosixPath(path).parent.parts, optional=False))


def _imports(node: ast.AST, package: tuple[str, ...], *, optional: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, node.lineno, optional) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else ()
        module = ".".join([*base, *([node.module] if node.module else [])])
        # `from loader import bundle` imports loader.bundle; a name that is no module does no harm here.
        yield from (Import(f"{module}.{alias.name}", node.lineno, optional) for alias in node.names)
    elif isinstance(node, ast.Call) and _last_name(node.func) in {"import_module", "__import__"}:
        first = node.args[0] if node.args else None
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield Import(first.value, node.lineno, True)
    inside = optional or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or _is_typing_only(node)
    guarded = isinstance(node, ast.Try) and any(_catches_import_error(handler) for handler in node.handlers)
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _imports(child, package, optional=inside or (guarded and field == "body"))


def _is_typing_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and _last_name(node.test) == "TYPE_CHECKING"


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    return bool({"ImportError", "ModuleNotFoundError"} & set(_caught(handler)))


def _caught(handler: ast.ExceptHandler) -> list[str]:
    if handler.type is None:
        return ["BaseException"]
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return [_last_name(kind) for kind in kinds]


def _last_name(node: ast.AST | None) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def loader_imports(source: str, path: str) -> list[str]:
    """Rule 1, and what travels: the standard library, four pure packages, compiled ones only as an option."""
    allowed = stdlib_names() | PURE_PACKAGES | {"loader"}
    faults = []
    for each in imports(source, path):
        if each.package in COMPILED_PACKAGES and not each.optional:
            faults.append(f"{each.line}: {each.package} is compiled: import it inside a function or a try")
        elif each.package not in allowed | COMPILED_PACKAGES:
            faults.append(f"{each.line}: the loader imports {each.name}")
    return faults


def trust_core_imports(source: str, path: str) -> list[str]:
    """Rule 2: the trust core knows the standard library's harmless part and itself."""
    faults = []
    for each in imports(source, path):
        ours = each.name == "loader.bundle" or each.name.startswith("loader.bundle.")
        harmless = each.package in stdlib_names() and not {each.package, each.name} & OUTSIDE_TRUST_CORE
        if not ours and not harmless:
            faults.append(f"{each.line}: the trust core imports {each.name}")
    attributes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)]
    starters = [node for node in attributes if _last_name(node.value) == "os" and PROCESS_STARTERS.fullmatch(node.attr)]
    return faults + [f"{node.lineno}: the trust core uses os.{node.attr}" for node in starters]


def forged_proofs(source: str, path: str) -> list[str]:
    """Rule 3: only the verifier makes the proofs, by a call, by ``__new__``, by ``replace`` or by a subclass."""
    if path == PROOF_MAKER:
        return []
    faults = []
    for node in ast.walk(ast.parse(source)):
        made: set[str] = set()
        if isinstance(node, ast.ClassDef):
            made = {_last_name(base) for base in node.bases}
        elif isinstance(node, ast.Call):
            made = {_last_name(node.func)}
            if isinstance(node.func, ast.Attribute) and node.func.attr == "__new__":
                made |= {_last_name(node.func.value), *map(_last_name, node.args)}
        faults += [f"{node.lineno}: makes {name}" for name in sorted(made & PROOFS)]  # type: ignore[attr-defined] # both kinds of node have it
    return faults


def environment_reads(source: str, path: str) -> list[str]:
    """Rule 4: below the command line nothing reads the environment, not through PATH or HOME either."""
    if path.startswith(COMMAND_LINE):
        return []
    faults = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            named = {alias.name for alias in node.names} & ENVIRONMENT_NAMES
            faults += [f"{node.lineno}: imports os.{name}" for name in sorted(named)]
        elif isinstance(node, ast.Attribute) and _reads_environment(node):
            faults.append(f"{node.lineno}: uses {_last_name(node.value)}.{node.attr}")
        elif isinstance(node, ast.Call) and _last_name(node.func) == "which" and _has_no_path(node):
            faults.append(f"{node.lineno}: which() without path reads PATH")
    return faults


def _reads_environment(node: ast.Attribute) -> bool:
    owner = _last_name(node.value)
    if node.attr in {"expanduser", "expandvars"}:
        return True
    return (owner == "os" and node.attr in ENVIRONMENT_NAMES) or (owner.endswith("Path") and node.attr == "home")


def _has_no_path(which: ast.Call) -> bool:
    return len(which.args) < 3 and all(keyword.arg != "path" for keyword in which.keywords)


def broad_handlers(source: str, path: str) -> list[str]:
    """``except Exception``, a bare ``except`` and ``suppress(Exception)`` stand in the command line modules alone."""
    if path.startswith(COMMAND_LINE):
        return []
    faults = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            faults += [f"{node.lineno}: catches {name}" for name in _caught(node) if name in CATCH_ALL]
        elif isinstance(node, ast.Call) and _last_name(node.func) == "suppress":
            faults += [
                f"{node.lineno}: suppresses {_last_name(arg)}" for arg in node.args if _last_name(arg) in CATCH_ALL
            ]
    return faults


def sizes(source: str, path: str) -> list[str]:
    """Modules and functions that a person reads in one go, named by what they hold."""
    faults = []
    lines = source.count("\n")
    if lines > MODULE_LINES:
        faults.append(f"1: {lines} lines, more than {MODULE_LINES}")
    if VAGUE_NAMES & set(PurePosixPath(path).with_suffix("").parts):
        faults.append("1: named after nothing in particular")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                faults.append(f"{node.lineno}: {node.name}() has {length} lines, more than {FUNCTION_LINES}")
    return faults


def unfinished(source: str, path: str) -> list[str]:
    """Notes to oneself, bodies that only raise, and tests that give up."""
    faults = [
        f"{token.start[0]}: {token.string}"
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and UNFINISHED.search(token.string)
    ]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(node) or ""
            if UNFINISHED.search(docstring):
                faults.append(f"{getattr(node, 'lineno', 1)}: an open point in a docstring")
        elif isinstance(node, ast.Name) and node.id == "NotImplementedError":
            faults.append(f"{node.lineno}: {node.id}")
        elif isinstance(node, ast.Attribute) and path.startswith("tests/") and _gives_up(node):
            faults.append(f"{node.lineno}: {_last_name(node.value)}.{node.attr}: a test runs or fails")
    return faults


def _gives_up(node: ast.Attribute) -> bool:
    return node.attr in GIVING_UP and _last_name(node.value) in {"pytest", "mark", "unittest", "self"}


def machine_paths(text: str, *, places: tuple[str, ...] = ()) -> list[str]:
    """Folders of the machine something was written on: homes, workspaces, and the given ``places``."""
    here = "|".join(re.escape(place.rstrip("/")) + r"(?![\w-])" for place in places if place.strip("/"))
    pattern = re.compile(MACHINE_PATH.pattern + (f"|(?<![\\w.:/-])(?:{here})" if here else ""))
    return [
        f"{number}: {line.strip()[:100]}" for number, line in enumerate(text.split("\n"), 1) if pattern.search(line)
    ]
