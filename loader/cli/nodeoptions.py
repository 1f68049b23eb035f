"""The options of ``load`` and ``apply`` that say what nodes get, and which CephCluster."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from loader.nodes import NodeOptions


class Mirrors(str, Enum):
    """Who puts the mirror policy on the nodes."""

    cluster = "cluster"
    manual = "manual"
    none = "none"


class Scope(str, Enum):
    """How wide a mirror's source is made here."""

    repository = "repository"


MirrorsOption = Annotated[
    Mirrors, typer.Option("--mirrors", help="cluster: by a cluster object; manual: they are on every node; none")
]
MigrateIcsp = Annotated[
    bool, typer.Option("--migrate-icsp", help="turn an earlier bundle's ImageContentSourcePolicy into the newer kind")
]
PruneMirrors = Annotated[
    bool, typer.Option("--prune-mirrors", help="drop mirrors of earlier bundles that this one has not; drains nodes")
]
ClusterCa = Annotated[
    Optional[Path], typer.Option("--cluster-ca", metavar="FILE", help="make nodes trust this CA (PEM) for the registry")
]
ClusterAuth = Annotated[
    Optional[Path],
    typer.Option("--cluster-auth", metavar="FILE", help="add the registry's login in this file to the pull secret"),
]
CephCluster = Annotated[
    Optional[str],
    typer.Option(
        "--ceph-cluster", metavar="NS/NAME", help="the CephCluster to change, if not the bundle's or the only one"
    ),
]
MirrorScope = Annotated[
    Optional[Scope],
    typer.Option("--mirror-scope", help="a source for each repository, where older narrow mirrors shadow the bundle's"),
]


@dataclass(frozen=True)
class NodeFlags:
    """What nodes get, and which CephCluster."""

    mirrors: MirrorsOption = Mirrors.cluster
    migrate_icsp: MigrateIcsp = False
    prune_mirrors: PruneMirrors = False
    cluster_ca: ClusterCa = None
    cluster_auth: ClusterAuth = None
    ceph_cluster: CephCluster = None
    mirror_scope: MirrorScope = None

    def chosen(self) -> "NodeOptions":
        """Return them for a load; raises ``ConfigError`` where they don't fit together."""
        from loader.nodes import NodeOptions

        options = NodeOptions(
            mirrors=self.mirrors.value,
            migrate_icsp=self.migrate_icsp,
            prune_mirrors=self.prune_mirrors,
            authority=self.cluster_ca,
            login=self.cluster_auth,
            ceph_cluster=self.ceph_cluster,
            mirror_scope=self.mirror_scope and self.mirror_scope.value,
        )
        options.check()
        return options
