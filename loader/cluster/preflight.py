"""Can the nodes pull every image of the bundle: names, trust, login, architecture, clock; pure."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

from loader.bundle.errors import ConfigError
from loader.bundle.manifest import Image
from loader.cluster.finding import Finding
from loader.cluster.merge import sources_of
from loader.cluster.nodeside import NodeSide
from loader.cluster.platforms import ROSA, rosa_refuses
from loader.cluster.registriestoml import Registries
from loader.cluster.resolution import Resolver
from loader.mirrors import scopes_of
from loader.oci.model import ImageRef, RegistryTarget

MAX_DRIFT = datetime.timedelta(minutes=5)
_OTHERWISE = "with other names for these images (image: NAME, from: docker://SOURCE), or ask for an exception"
_NAMED = 3  # images named in one finding
_CLIENT = re.compile(r"([0-9]+)\.([0-9]+)")
_OLDEST = {"kubectl": (1, 18), "oc": (4, 5)}


@dataclass(frozen=True)
class Pulls:
    """What nodes will pull and from where, as far as the loader knows it from its own connection.

    ``private_ca``: our own connection needed another CA than the system's, or did not check. ``anonymous``: the
    registry answers without a login.
    """

    images: tuple[Image, ...]
    target: RegistryTarget
    scheme: str
    private_ca: bool
    anonymous: bool

    def place(self, image: Image) -> str:
        """Return ``host/repository`` of an image in the site's registry."""
        return f"{self.target.host}/{self.target.repository(image.repository)}"


@dataclass(frozen=True)
class Grants:
    """What this very load gives the nodes: ``--cluster-ca``, ``--cluster-auth``."""

    authority: bool = False
    login: bool = False


@dataclass(frozen=True)
class Names:
    """Each file that nodes resolve names by, none where the API shows none, and what a wrong answer of one means."""

    confs: tuple[Registries, ...]
    level: str = "blocker"
    hint: str = (
        "a longer source of another mirror object wins (--mirror-scope repository makes ours as long), or the "
        "registry is blocked: oc get idms,itms,icsp"
    )


class PullChecks:
    """Every reason why nodes may not get the bundle's images, check by check; None for one that cannot be made here.

    ``conf`` is the registries.conf nodes will have, None where the API cannot tell. By ``names`` the bundle's images
    must resolve to the registry.
    """

    def __init__(
        self, side: NodeSide, conf: Optional[Registries], pulls: Pulls, grants: Grants, *, names: Names
    ) -> None:
        resolver = Resolver(conf) if conf is not None else None
        configured = side.image_config is not None
        self.architectures = tuple(_architectures(side, pulls.images))
        resolved = [finding for one in names.confs for finding in _resolution(Resolver(one), pulls, names)]
        self.resolved = tuple(dict.fromkeys(resolved)) if names.confs else None
        self.trust = tuple(_trust(side, resolver, pulls, grants)) if resolver is not None and configured else None
        self.allowed = tuple(_allowed(side, pulls)) if configured else None
        self.login = tuple(_login(side, pulls, grants)) if configured else None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Return all of them."""
        checks = (self.architectures, self.resolved, self.trust, self.allowed, self.login)
        return tuple(finding for check in checks if check is not None for finding in check)


def endpoints_of(conf: Registries, pulls: Pulls) -> dict[str, tuple[str, ...]]:
    """Return where nodes would pull each image from, in the order they ask, by ``source@digest``."""
    resolver = Resolver(conf)
    return {name: _places(resolver, name) for name in (f"{image.source}@{image.digest}" for image in pulls.images)}


def _places(resolver: Resolver, name: str) -> tuple[str, ...]:
    try:
        return resolver.endpoints(ImageRef.parse(name))
    except ConfigError:
        return ()  # a finding tells why


def rosa_findings(side: NodeSide, sources: Iterable[str]) -> Iterator[Finding]:
    """Yield a blocker where managed OpenShift's webhook refuses mirrors of ``sources``."""
    refused = sorted({source for source in sources if rosa_refuses(source)}) if side.platform.name == ROSA else []
    if refused:
        text = f"ROSA's webhook imagecontentpolicies-validation refuses mirrors of {', '.join(refused)}"
        # Of this host it refuses the bare name alone, of the others everything.
        narrower = "with mirrors.scope: repository, or " if refused == ["registry.redhat.io"] else ""
        hint = f"build the bundle {narrower}{_OTHERWISE}"
        yield Finding("blocker", text, hint)


def _resolution(resolver: Resolver, pulls: Pulls, names: Names) -> Iterator[Finding]:
    missing, shadowed = [], []
    for image in pulls.images:
        ref = ImageRef.parse(f"{image.source}@{image.digest}")
        try:
            places = resolver.endpoints(ref)
        except ConfigError as error:
            yield Finding(
                names.level,
                f"nodes cannot pull {ref.name}: {error}",
                "correct the mirror object (oc get idms,itms,icsp): its mirrors need a dot or a port, and a source "
                "that is a bare host also matches it with any port",
            )
            continue
        wanted = pulls.place(image)
        if wanted not in places:
            missing.append(f"{ref.name} ({', '.join(places) or 'blocked everywhere'})")
        elif places[0] != wanted:
            shadowed.append(f"{ref.name} ({places[0]})")
    if missing:
        text = f"nodes would not ask {pulls.target} for {_some(missing)}"
        yield Finding(names.level, text, names.hint)
    if shadowed:
        text = f"nodes would ask another registry before {pulls.target} for {_some(shadowed)}"
        hint = "an older mirror of the same source comes first; it must not answer with other content"
        yield Finding("warning", text, hint)


def _trust(side: NodeSide, resolver: Resolver, pulls: Pulls, grants: Grants) -> Iterator[Finding]:
    host = pulls.target.host
    places = [pulls.place(image) for image in pulls.images] or [host]
    if all(resolver.is_insecure(place) for place in places):
        return
    if pulls.scheme == "http":
        text = f"{host} speaks http and is not in insecureRegistries of image.config/cluster: nodes ask for https"
        yield Finding("blocker", text, "give the registry a certificate; insecureRegistries would drain every node")
    elif pulls.private_ca and not grants.authority and ca_entry(host) not in side.authorities:
        named = f"ConfigMap openshift-config/{side.ca_name}" if side.ca_name else "additionalTrustedCA of image.config"
        text = f"the certificate of {host} is not from a public CA, and {named} has no {ca_entry(host)}"
        yield Finding("warning", text, "--cluster-ca FILE adds it, unless the nodes' own trust store has the CA")


def _login(side: NodeSide, pulls: Pulls, grants: Grants) -> Iterator[Finding]:
    if pulls.anonymous or grants.login:
        return
    host = pulls.target.host
    if side.logins is None:
        text = f"whether nodes can log in to {host} is not to be seen: openshift-config/pull-secret is not readable"
        yield Finding("warning", text, "the registry wants a login: look there, or use --cluster-auth FILE")
        return
    places = [pulls.place(image) for image in pulls.images] or [host]
    without = [place for place in places if not any(_is_login(key, place) for key in side.logins)]
    if without:
        text = f"{host} wants a login, and openshift-config/pull-secret has none for {_some(without)}"
        yield Finding("blocker", text, "--cluster-auth FILE adds one; mirrors use no other login than the global one")


def _is_login(key: str, place: str) -> bool:
    name = key.partition("://")[2] or key
    name = name.rstrip("/")
    for end in ("/v1", "/v2"):
        name = name[: -len(end)] if name.endswith(end) and "://" in key else name
    return place == name or place.startswith(f"{name}/")


def _allowed(side: NodeSide, pulls: Pulls) -> Iterator[Finding]:
    allowed = set(sources_of(side.image_config).allowed)
    if not allowed:
        return
    refused = [image.source for image in pulls.images if not _covered(image.source, allowed)]
    if refused:
        text = f"allowedRegistries of image.config/cluster lets nodes pull nothing named {_some(refused)}"
        yield Finding("blocker", text, "add the sources to it: nodes judge the name a pod has, not the mirror's")
    if not _covered(str(pulls.target), allowed):
        text = f"allowedRegistries of image.config/cluster does not have {pulls.target.host}"
        yield Finding("warning", text, "mirrors work; builds, imports and pods that name the registry do not")


def _covered(name: str, scopes: set[str]) -> bool:
    return any(scope in scopes for scope in scopes_of(name))


def _architectures(side: NodeSide, images: Sequence[Image]) -> Iterator[Finding]:
    names: dict[tuple[str, ...], list[str]] = {}
    for image in images:
        has = tuple(sorted({platform.split("/")[1] for platform in image.platforms if platform.count("/") >= 1}))
        names.setdefault(has, []).append(
            f"{image.source}:{image.tag}" if image.tag else f"{image.source}@{image.digest}"
        )
    for has, alike in names.items():
        lacking = sorted(arch for arch in side.architectures if arch not in has)
        if not has or not lacking:
            continue
        nodes = ", ".join(f"{side.architectures[arch]} {arch}" for arch in lacking)
        are = "is" if len(alike) == 1 else "are"
        text = f"{_some(alike)} {are} there for {', '.join(has)}, and of the nodes are {nodes}"
        if len(lacking) == len(side.architectures):
            yield Finding("blocker", text, "build the bundle with these platforms")
        else:
            yield Finding("warning", text, "its pods must not be scheduled there: build the bundle with all platforms")


def clock_findings(here: datetime.datetime, whose: str, there: Optional[datetime.datetime]) -> Iterator[Finding]:
    """Yield a warning where this host's clock and that of ``whose`` (None: it tells none) are minutes apart."""
    drift = abs(there - here) if there is not None else datetime.timedelta(0)
    if there is not None and drift > MAX_DRIFT:
        minutes = int(drift.total_seconds() // 60)
        text = f"host clock reads {_utc(here)}, {whose} says {_utc(there)}: {minutes} minutes apart"
        yield Finding("warning", text, "set the clock: certificates, logins and the report's times depend on it")


def _utc(time: datetime.datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def client_findings(client: str) -> Iterator[Finding]:
    """Yield a blocker where ``client`` (``oc 4.5.0``) is too old to ask a server for a dry run; unknown ones pass."""
    name, _, version = client.partition(" ")
    found = _CLIENT.match(version)
    # What is called oc and has a version 1 is a link to kubectl.
    oldest = _OLDEST["oc" if name == "oc" and found and int(found[1]) > 1 else "kubectl"]
    if found and (int(found[1]), int(found[2])) < oldest:
        text = f"{name} {version} is too old: it cannot apply server-side or ask the server for a dry run"
        yield Finding("blocker", text, "install oc 4.5 or kubectl 1.18, or newer, and put it first on PATH")


def ca_entry(host: str) -> str:
    """Return the key under which image.config's ConfigMap has the CA of ``host[:port]``: ``..`` for the colon."""
    return host.replace(":", "..")


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
