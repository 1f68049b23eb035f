"""What a load asks of a cluster's nodes, from its options and from how this host itself reaches the registry."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Optional

from loader.bundle.errors import ConfigError
from loader.bundle.manifest import Image
from loader.cluster.imageconfig import MAX_FILE, authority_in, login_in
from loader.cluster.mirrorsets import MirrorWay
from loader.cluster.nodeeffect import PoolEffect
from loader.cluster.prediction import effect_words
from loader.cluster.preflight import Pulls, clock_findings
from loader.cluster.prepare import Asked
from loader.cluster.rookauto import parse_place
from loader.cluster.rookeffect import RookEffect, rook_words
from loader.oci.connect import Registries
from loader.oci.model import RegistryTarget


@dataclass(frozen=True)
class NodeOptions:
    """``--mirrors``, ``--migrate-icsp``, ``--prune-mirrors``, ``--cluster-ca FILE``, ``--cluster-auth FILE``, and
    ``--ceph-cluster NS/NAME``.
    """

    mirrors: str = "cluster"
    migrate_icsp: bool = False
    prune_mirrors: bool = False
    authority: Optional[Path] = None
    login: Optional[Path] = None
    ceph_cluster: Optional[str] = None
    mirror_scope: Optional[str] = None

    def check(self) -> None:
        """Raise ``ConfigError`` for a value that cannot be meant, before anything else happens."""
        parse_place(self.ceph_cluster or "ns/name", "--ceph-cluster")

    @property
    def by_repository(self) -> bool:
        """Tell whether mirror objects shall have a source for each repository."""
        return self.mirror_scope == "repository"

    @property
    def place(self) -> Optional[tuple[str, str]]:
        """Namespace and name of the CephCluster that was named. Raises ``ConfigError``."""
        return parse_place(self.ceph_cluster, "--ceph-cluster") if self.ceph_cluster is not None else None


def asked_of_nodes(
    options: NodeOptions,
    images: tuple[Image, ...],
    target: RegistryTarget,
    registries: Registries,
    *,
    scheme: str,
    now: str,
    date: str = "",
) -> Asked:
    """Return the request; ``scheme`` is how the registry answered, ``now`` this host's UTC as ``…T…Z``.

    ``date`` is the registry's own, as in a Date header.

    Raises ``ConfigError`` for a file that holds no certificate or no login for the registry.
    """
    login: Optional[tuple[str, Mapping[str, str]]] = None
    if options.login is not None:
        login = login_in(_read(options.login, "--cluster-auth"), str(options.login), str(target))
    authority = ""
    if options.authority is not None:
        authority = authority_in(_read(options.authority, "--cluster-ca"), str(options.authority))
    private_ca = scheme == "https" and registries.trusts_more_than_system(target.host)
    pulls = Pulls(images, target, scheme, private_ca, registries.answers_anyone(target.host))
    way = MirrorWay(options.mirrors, migrate=options.migrate_icsp, prune=options.prune_mirrors)
    return Asked(way, pulls, authority, login, _utc(now), _parsed(date), options.place)


def clock_warnings(date: str, now: str) -> list[str]:
    """What to say where the registry's clock (a Date header) and this host's (``…T…Z``) are minutes apart."""
    return [str(one) for one in clock_findings(_utc(now), "registry", _parsed(date))]


def _utc(now: str) -> datetime.datetime:
    return datetime.datetime.strptime(now, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)


def _parsed(date: str) -> Optional[datetime.datetime]:
    try:
        found = parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo is not None else None  # "-0000": it does not say of which place


def _read(path: Path, option: str) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_FILE + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {option} {path}", why=error.strerror or "") from error


def words_for(pools: tuple[PoolEffect, ...], rook: tuple[RookEffect, ...]) -> str:
    """Return what nodes and Rook do as one line shows it, an empty string where they do nothing."""
    return " · ".join(words for words in (effect_words(pools), rook_words(rook)) if words)


def question(pools: tuple[PoolEffect, ...], rook: tuple[RookEffect, ...] = ()) -> str:
    """Return what the question before the first write says of nodes and Rook, an empty string where they do nothing."""
    words = words_for(pools, rook)
    return f" {words[0].upper()}{words[1:]}." if words else ""
