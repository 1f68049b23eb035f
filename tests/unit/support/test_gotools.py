"""The cache of built tools, with a fake Go that notes each build."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tests.support import gotools

FAKE_GO = """#!/bin/sh
if [ "$1" = env ]; then echo {version}; exit; fi
echo "$@" >> {folder}/builds
echo "$GOFLAGS|$GOTOOLCHAIN" >> {folder}/environment
{before}
while [ "$1" != -o ]; do shift; done
echo built > "$2"
"""


def environment(folder: Path, *, version: str = "go1.99.1", before: str = "sleep 0.05") -> dict[str, str]:
    go = folder / "bin" / "go"
    go.parent.mkdir()
    go.write_text(FAKE_GO.format(version=version, folder=folder, before=before))
    go.chmod(0o755)
    return {"PATH": f"{go.parent}:{os.defpath}", "XDG_CACHE_HOME": str(folder / "cache"), "GOFLAGS": "-mod=mod"}


def test_a_tool_is_built_once_by_however_many_ask(tmp_path: Path) -> None:
    environ = environment(tmp_path)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(gotools.tool("kube-apiserver", environ))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert {path.read_text() for path in found} == {"built\n"}
    builds = (tmp_path / "builds").read_text().splitlines()
    assert len(builds) == 1
    assert "gitVersion=v1." in builds[0]
    assert (tmp_path / "environment").read_text() == "|local\n"


def test_a_failed_build_leaves_nothing_and_says_why(tmp_path: Path) -> None:
    environ = environment(
        tmp_path, before='while [ "$1" != -o ]; do shift; done; echo half > "$2"; echo no disk >&2; exit 1'
    )
    with pytest.raises(gotools.ToolMissing, match="no disk"):
        gotools.tool("kube-apiserver", environ)
    assert [path for path in (tmp_path / "cache").rglob("*kube-apiserver*") if path.is_file()] == []


def test_ready_programs_win(tmp_path: Path) -> None:
    ready = tmp_path / "kube-apiserver"
    ready.write_text("#!/bin/sh\n")
    environ = {**environment(tmp_path), "KUBEBUILDER_ASSETS": str(tmp_path)}
    # What is no program there is looked for elsewhere.
    assert gotools.tool("kube-apiserver", environ) != ready
    ready.chmod(0o755)
    assert gotools.tool("kube-apiserver", environ) == ready


def test_the_lowest_go_is_read_from_go_mod() -> None:
    assert gotools.wanted_go("module x\n\ngo 1.24.0\n") == (1, 24, 0)
    with pytest.raises(gotools.ToolMissing):
        gotools.wanted_go("module x\n")


def test_a_development_go_is_never_new_enough(tmp_path: Path) -> None:
    environment(tmp_path, version="devel")
    assert gotools.go_version(tmp_path / "bin" / "go") == (0,)


def test_a_registry_is_built_in_its_own_module(tmp_path: Path) -> None:
    environ = environment(tmp_path, before=f"pwd >> {tmp_path}/folders")
    assert gotools.tool("crane", environ) != gotools.tool("kube-apiserver", environ)
    assert (tmp_path / "folders").read_text().splitlines() == [str(gotools.MODULE / "registries"), str(gotools.MODULE)]
