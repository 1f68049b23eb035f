"""Charts rendered by helm, without a cluster and without the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path
from typing import Optional

from loader.bundle.errors import ClusterError, ConfigError
from loader.cluster.process import Runner

_TIMEOUT = 120.0
_LAST_LINES = 4
# Charts that make SecurityContextConstraints do it only where OpenShift's API is served.
_OPENSHIFT = "security.openshift.io/v1"


@dataclass(frozen=True)
class Helm:
    """The program (None where there is none), what runs it, and the values files to render with."""

    program: Optional[str]
    run: Runner
    values: Sequence[Path]

    def render(self, chart: Path) -> bytes:
        """Return the manifests of a chart. Raises ``ConfigError`` with helm's own words where it does not render."""
        if self.program is None:
            raise ConfigError(
                f"chart {chart} needs helm to be rendered",
                why="helm is not on PATH",
                hint="install helm v3, or render it",
            )
        argv = [self.program, "template", "airgap", str(chart), "--api-versions", _OPENSHIFT]
        for values in self.values:
            argv += ["--values", str(values)]
        try:
            done = self.run(argv, stdin=b"", timeout=_TIMEOUT)
        except ClusterError as error:
            raise ConfigError(f"chart {chart} does not render", why=error.message) from error
        if done.status:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            # Warnings come first: of symbolic links, of files that anybody may read.
            words = (list(dropwhile(lambda line: not line.startswith("Error"), said)) or said)[-_LAST_LINES:]
            raise ConfigError(f"chart {chart} does not render", why=" ".join(words) or f"exit status {done.status}")
        return done.stdout
