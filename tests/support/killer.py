"""A kubectl that ends the loader at one of its writes: before the API server hears of it, or after it has answered."""

from __future__ import annotations

import dataclasses
import signal
import stat
from pathlib import Path

from tests.support.site import Site

# A write names its field manager or deletes by path; a dry run and an access review are none.
_SCRIPT = """#!/bin/sh
case " $* " in
*" --dry-run=server "*) exec {program} "$@" ;;
*" --field-manager=airgap-loader "* | *" delete --raw "*) ;;
*) exec {program} "$@" ;;
esac
count=$(($(cat {folder}/count) + 1))
echo $count > {folder}/count
read -r number moment < {folder}/when
if [ $count = $number ]; then
    [ $moment = after ] && {program} "$@" > /dev/null
    kill -KILL $PPID
    exit 1
fi
exec {program} "$@"
"""


class Killer:
    """Puts such a kubectl into ``folder``, which has to come first on PATH."""

    status = -signal.SIGKILL

    def __init__(self, folder: Path, program: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.path = str(folder)
        script = folder / "kubectl"
        script.write_text(_SCRIPT.format(folder=folder, program=program))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        self.never()

    def at(self, number: int, moment: str) -> None:
        """End the next run at its write ``number``, from 1, ``before`` or ``after`` it is made."""
        (self._folder / "when").write_text(f"{number} {moment}\n")
        (self._folder / "count").write_text("0\n")

    def never(self) -> None:
        """Let the next runs end by themselves, and count their writes."""
        self.at(0, "before")

    def before(self, site: Site) -> None:
        """Come first on the PATH of ``site``."""
        site.cli = dataclasses.replace(site.cli, path=f"{self.path}:{site.cli.path}")

    @property
    def writes(self) -> int:
        """The writes since ``at`` or ``never``."""
        return int((self._folder / "count").read_text())
