"""The options of ``load`` and ``apply`` that say what nodes get, and which CephCluster."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.

import functools
import inspect
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Optional

import typer


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


_PARAMETERS = (
    ("mirrors", MirrorsOption, Mirrors.cluster),
    ("migrate_icsp", MigrateIcsp, False),
    ("prune_mirrors", PruneMirrors, False),
    ("cluster_ca", ClusterCa, None),
    ("cluster_auth", ClusterAuth, None),
    ("ceph_cluster", CephCluster, None),
    ("mirror_scope", MirrorScope, None),
)


def takes_node_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give ``command`` the options of this module; it gets them as one :class:`loader.nodes.NodeOptions`, ``nodes``."""
    signature = inspect.signature(command)
    own = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)
        for name, annotation, default in _PARAMETERS
    ]
    spread = [each for one in signature.parameters.values() for each in (own if one.name == "nodes" else [one])]

    @functools.wraps(command)
    def taking(**given: Any) -> None:
        from loader.nodes import NodeOptions

        one = {name: given.pop(name) for name, _, _ in _PARAMETERS}
        nodes = NodeOptions(
            mirrors=one["mirrors"].value,
            migrate_icsp=one["migrate_icsp"],
            prune_mirrors=one["prune_mirrors"],
            authority=one["cluster_ca"],
            login=one["cluster_auth"],
            ceph_cluster=one["ceph_cluster"],
            mirror_scope=one["mirror_scope"] and one["mirror_scope"].value,
        )
        command(**given, nodes=nodes)

    # typer reads both: the signature for the order and defaults, the annotations for the types.
    taking.__dict__["__signature__"] = signature.replace(parameters=spread)
    taking.__annotations__ = {each.name: each.annotation for each in spread}
    return taking
