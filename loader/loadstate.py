"""What a load is asked for, what it needs from outside, and what it knows so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Optional

from loader.bundle.errors import RegistryError
from loader.bundle.verify import Complete, VerifiedBundle
from loader.cluster.kubectl import Kubectl
from loader.cluster.plan import Plan
from loader.cluster.survey import Survey as Cluster
from loader.cluster.waits import Clock
from loader.history import History
from loader.imports import ImportLog
from loader.media.onedrive import OneDrive
from loader.meter import Progress
from loader.nodes import NodeOptions
from loader.oci.connect import Registries
from loader.oci.model import RegistryTarget
from loader.oci.pushplan import PushReport
from loader.oci.registry import Registry
from loader.oci.survey import Survey
from loader.opening import DriveOptions
from loader.report import Report
from loader.site import PushSet, SiteDocument


@dataclass(frozen=True)
class LoadOptions:
    """What was asked for. ``push`` and ``apply`` choose the halves; ``nodes`` is what nodes shall get.

    ``timeout`` is in seconds for each wait, None for each one's own; ``access`` are the options a rollback needs again.
    """

    registry: Optional[str] = None
    push: bool = True
    apply: bool = True
    dry_run: bool = False
    only: tuple[str, ...] = ()
    nodes: Optional[NodeOptions] = None
    jobs: int = 3
    images: tuple[str, ...] = ()
    override: Optional[str] = None
    timeout: Optional[float] = None
    access: str = ""

    @property
    def verb(self) -> str:
        """What the user typed: ``push`` does not apply, ``apply`` does not push."""
        return "apply" if not self.push else "load" if self.apply else "push"


@dataclass(frozen=True)
class LoadPorts:
    """What a load needs from outside; ``now`` gives UTC as text. ``drive`` asks for discs that are not at hand."""

    registries: Registries
    kubectl: Callable[[], Kubectl]
    history: History
    say: Callable[[str, str], None]
    note: Callable[[str, str], None]
    progress: Progress
    confirm: Callable[[str], None]
    now: Callable[[], str]
    report: Report
    imports: ImportLog
    verified: Callable[[VerifiedBundle], None]
    clock: Clock
    drive: Optional[DriveOptions] = None


@dataclass
class State:
    """What the run knows so far; each verb of the story adds to it. ``warnings`` are those of the preflight."""

    bundle: VerifiedBundle
    complete: Optional[Complete]
    target: RegistryTarget
    documents: tuple[SiteDocument, ...]
    push: PushSet
    registry: Registry
    survey: Survey
    more: tuple[VerifiedBundle, ...] = ()
    drive: Optional[OneDrive] = None
    scheme: str = "https"
    date: str = ""
    refused: Mapping[str, RegistryError] = field(default_factory=dict)
    kubectl: Optional[Kubectl] = None
    cluster: Optional[Cluster] = None
    plan: Optional[Plan] = None
    pushed: Optional[PushReport] = None
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """``NAME-VERSION``."""
        return f"{self.bundle.manifest.name}-{self.bundle.manifest.version}"
