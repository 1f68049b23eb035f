"""What it takes to talk to a cluster: the options, and kubectl with them."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from loader.bundle.errors import ConfigError, StorageError
from loader.cli.console import Console
from loader.cli.site import Allowed
from loader.presence import is_file

if TYPE_CHECKING:
    from loader.cluster.kubectl import Call, Kubectl

Kubeconfig = Annotated[Optional[Path], typer.Option("--kubeconfig", metavar="F", help="kubeconfig file")]
Context = Annotated[Optional[str], typer.Option("--context", metavar="C", help="context of the kubeconfig")]
Yes = Annotated[bool, typer.Option("--yes", help="answer the question before the cluster changes")]


@dataclass(frozen=True)
class ClusterFlags:
    """Which cluster, and whether its change was agreed to."""

    kubeconfig: Kubeconfig = None
    context: Context = None
    yes: Yes = False

    def require_there(self) -> None:
        """Refuse a kubeconfig that is not there before hours are spent on what comes first."""
        if self.kubeconfig is not None and not is_file(self.kubeconfig):
            raise ConfigError(
                f"--kubeconfig {self.kubeconfig} is no file",
                why="nothing has that name, or it is something else",
                hint="name the kubeconfig of this cluster, or log in with `oc login` and leave the option away",
            )

    def kubectl(self, console: Console, scratch: Callable[[], Path]) -> "Kubectl":
        """Return the user's oc or kubectl; its discovery cache goes to ``scratch``."""
        from loader.cluster.kubectl import Kubectl, find_program
        from loader.cluster.process import ProcessRunner

        def trace(call: "Call") -> None:
            console.detail(str(call))

        path = os.environ.get("PATH")
        return Kubectl(
            find_program(lambda name: shutil.which(name, path=path)),
            ProcessRunner(dict(os.environ)),
            kubeconfig=self.kubeconfig,
            context=self.context,
            cache_dir=scratch(),
            only_server=Allowed.server,
            trace=trace,
        )


@contextlib.contextmanager
def scratch_folder() -> Iterator[Callable[[], Path]]:
    """A folder for kubectl's discovery cache, made once it is asked for: a dry run leaves nothing in the user's own."""
    with contextlib.ExitStack() as stack:

        def folder() -> Path:
            try:
                return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="airgap-loader-")))
            except OSError as error:
                raise StorageError(
                    "there is no folder for kubectl's cache",
                    why=str(error),
                    hint="set TMPDIR to one that can be written",
                ) from error

        yield folder
