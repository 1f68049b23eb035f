"""The mirror table of a bundle, and the documents rendered from it: pure, and the same bytes on both sides.

The builder calls :func:`render_mirrors` once and the bytes are signed. The loader calls it again on the
signed table when the site has another registry (:func:`retarget`), so nothing but the registry can change.
Sources: openshift/api ``config/v1`` and ``operator/v1alpha1``, openshift/runtime-utils ``pkg/registries``,
containers/image ``pkg/sysregistriesv2``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Optional

from loader.bundle.errors import ConfigError, FormatError
from loader.bundle.manifest import POLICIES, Mirror
from loader.oci.model import is_domain

ICSP = "operator.openshift.io/v1alpha1"
IDMS = ITMS = "config.openshift.io/v1"
NEVER_CONTACT = "NeverContactSource"
NO_DOMAIN = "its host has neither dot nor port: every pull by such a mirror fails (repository name must be canonical)"
NO_DOMAIN_HINT = "write its full name or its port: registry.example.com, registry:5000"
MANAGED_BY = "airgap-loader"

# The mirror pattern of openshift/api backtracks exponentially in Python's re: (?:[._]|__|[-]*) may match
# nothing inside a repeated group. Here every separator takes at least one character, so the time is bounded.
_HOST = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*"
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_LOCATION = re.compile(rf"({_HOST}(?::([0-9]{{1,5}}))?)(?:/{_COMPONENT})*")
_WILDCARD = re.compile(rf"\*\.{_HOST}")
# A repository name has at most 255 characters (distribution spec) and a host name 253 (RFC 1035).
MAX_LOCATION = 512
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")

# Plain in YAML 1.1 and 1.2 alike: starts with a letter, so it is never a number, a time or an alias.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*(?::[A-Za-z0-9._/-]+)*")
_YAML_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})

# The Machine Config Operator's own template, unchanged since OpenShift 4.2.
_MCO_HEAD = """\
unqualified-search-registries = ["registry.access.redhat.com", "docker.io"]
short-name-mode = ""
"""


@dataclass(frozen=True)
class MirrorDocument:
    """One rendering of the mirror table: its short name, path in the bundle, cluster object (or None), bytes."""

    name: str
    path: str
    object: Optional[dict[str, object]]
    content: bytes


@dataclass(frozen=True)
class Group:
    """All mirrors of one source in table order; ``policy`` is OpenShift's ``mirrorSourcePolicy``."""

    source: str
    mirrors: tuple[str, ...]
    policy: str

    @property
    def blocked(self) -> bool:
        """Tell whether nodes must never contact the source itself."""
        return self.policy == NEVER_CONTACT


def is_location(text: str) -> bool:
    """Tell whether ``text`` is ``host[:port][/path…]`` as a mirror may be written (openshift/api ImageMirror)."""
    found = _LOCATION.fullmatch(text) if len(text) <= MAX_LOCATION else None
    return found is not None and (found[2] is None or 0 < int(found[2]) <= 65535)


def is_mirror(text: str) -> bool:
    """Tell whether nodes can pull from ``text``: containers/image refuses what it makes of ``site/ceph``, no host."""
    return is_location(text) and is_domain(text.partition("/")[0])


def is_source(text: str) -> bool:
    """Tell whether ``text`` may be a mirror's source: a location, or ``*.`` and a host name."""
    return is_location(text) or (len(text) <= MAX_LOCATION and _WILDCARD.fullmatch(text) is not None)


def is_object_name(text: str) -> bool:
    """Tell whether ``text`` can name a cluster object (RFC 1123 subdomain, at most 253 characters)."""
    return len(text) <= 253 and _NAME.fullmatch(text) is not None


def scopes_of(location: str) -> Iterator[str]:
    """Yield every registries.conf entry that covers ``location``: itself, all above it, and ``*.`` of its host."""
    while True:
        yield location
        above, slash, _ = location.rpartition("/")
        if not slash:
            break
        location = above
    labels = location.partition(":")[0].split(".")
    yield from (f"*.{'.'.join(labels[count:])}" for count in range(1, len(labels)))


def bare_host(location: str) -> Optional[str]:
    """Return the host of a ``location`` with a port: as a mirror's source it would break that location's names.

    containers/image takes ``example.com`` as a prefix of ``example.com:5000/x`` and asks the mirror for
    ``MIRROR:5000/x``, which is no reference: the pull fails before the source is tried.
    """
    host, colon, _ = location.partition("/")[0].partition(":")
    return host if colon else None


def table_faults(table: Sequence[Mirror]) -> list[tuple[str, str]]:
    """Return every (source, problem) of a mirror table that an API server or a node would refuse or misread."""
    faults = [(_shown(row.source), problem) for row in table for problem in _row_faults(row)]
    seen: set[tuple[str, str]] = set()
    policies: dict[str, str] = {}
    for row in table:
        if (row.source, row.mirror) in seen:
            faults.append((row.source, f"names the mirror {row.mirror} twice"))
        seen.add((row.source, row.mirror))
        if policies.setdefault(row.source, row.policy) != row.policy:
            faults.append((row.source, "has two policies; the Machine Config Operator would refuse all mirrors"))
    return faults + list(_pair_faults(table))


def _shown(source: str) -> str:
    return source if is_source(source) else ascii(source[:MAX_LOCATION])


def _row_faults(row: Mirror) -> Iterator[str]:
    if not is_source(row.source):
        yield "is not a source of the form host[:port][/path] in lower case"
    if not is_mirror(row.mirror):
        yield f"has the mirror {row.mirror!a}, which is not host[:port][/path] in lower case, with a dot or port"
    if row.policy not in POLICIES:
        yield f"has the unknown policy {row.policy!a}"
    if row.source == row.mirror:
        yield "is its own mirror"


def _pair_faults(table: Sequence[Mirror]) -> Iterator[tuple[str, str]]:
    blocked = {row.source for row in table if row.policy == NEVER_CONTACT}
    sources = {row.source for row in table}
    for row in table:
        for scope in scopes_of(row.mirror):
            if scope in blocked and scope != row.mirror:
                yield scope, f"is never contacted, and the mirror {row.mirror} lies inside it"
        for location in (row.source, row.mirror):
            host = bare_host(location)
            if host in sources:
                yield host, f"would also match {location} and break its name; name repositories instead of the host"


def retarget(table: Sequence[Mirror], old_registry: str, new_registry: str) -> tuple[Mirror, ...]:
    """Move every mirror of ``table`` from ``old_registry`` to ``new_registry`` (each ``host[:port][/prefix]``).

    Raises ``ConfigError`` when the new registry cannot hold the table, ``FormatError`` when the table does
    not lie under the old one.
    """
    if is_location(new_registry) and not is_mirror(new_registry):
        raise ConfigError(f"registry {new_registry} cannot be a mirror", why=NO_DOMAIN, hint=NO_DOMAIN_HINT)
    if not is_location(new_registry):
        raise ConfigError(
            f"registry {new_registry!a} cannot be a mirror",
            why="it is not host[:port][/prefix] with a prefix in lower case",
            hint="write it without https:// and without a slash at the end",
        )
    moved = []
    for row in table:
        if row.mirror != old_registry and not row.mirror.startswith(f"{old_registry}/"):
            raise FormatError(
                f"mirror {row.mirror!a} of {row.source!a} is not under the bundle's registry", why=f"{old_registry!a}"
            )
        moved.append(replace(row, mirror=new_registry + row.mirror[len(old_registry) :]))
    faults = table_faults(moved)
    if faults:
        raise ConfigError(f"registry {new_registry} cannot hold this bundle's mirrors", faults=faults)
    return tuple(moved)


def group(table: Sequence[Mirror]) -> tuple[Group, ...]:
    """Group rows by source: sources sorted bytewise, mirrors in table order. Raises ``FormatError`` on a bad table."""
    faults = table_faults(table)
    if faults:
        raise FormatError(
            "mirror table is not usable", why="; ".join(f"{place} {problem}" for place, problem in faults)
        )
    mirrors: dict[str, list[str]] = {}
    policy = {}
    for row in table:
        mirrors.setdefault(row.source, []).append(row.mirror)
        policy[row.source] = row.policy
    return tuple(Group(source, tuple(mirrors[source]), policy[source]) for source in sorted(mirrors))


def icsp(table: Sequence[Mirror], *, name: str) -> dict[str, object]:
    """Render the ImageContentSourcePolicy (OpenShift 4.2 and newer); it cannot carry a policy."""
    return _object(ICSP, "ImageContentSourcePolicy", name, "repositoryDigestMirrors", table, with_policy=False)


def idms(table: Sequence[Mirror], *, name: str) -> dict[str, object]:
    """Render the ImageDigestMirrorSet (OpenShift 4.13 and newer)."""
    return _object(IDMS, "ImageDigestMirrorSet", name, "imageDigestMirrors", table, with_policy=True)


def itms(table: Sequence[Mirror], *, name: str) -> dict[str, object]:
    """Render the ImageTagMirrorSet, with the sources of the digest set.

    A tag set with other sources would shadow digest mirrors: the longest source wins and sources never combine.
    """
    return _object(ITMS, "ImageTagMirrorSet", name, "imageTagMirrors", table, with_policy=True)


def _object(
    api_version: str, kind: str, name: str, key: str, table: Sequence[Mirror], *, with_policy: bool
) -> dict[str, object]:
    if not is_object_name(name):
        raise FormatError(f"{name!a} cannot name a {kind}", why="it is not an RFC 1123 subdomain")
    items: list[dict[str, object]] = []
    for entry in group(table):
        item: dict[str, object] = {"mirrors": list(entry.mirrors), "source": entry.source}
        # Only where it says something: unset means AllowContactingSource, and objects written by hand or
        # converted by `oc adm migrate icsp` leave it unset, so a comparison with them stays quiet.
        if with_policy and entry.blocked:
            item["mirrorSourcePolicy"] = entry.policy
        items.append(item)
    metadata = {"labels": {"app.kubernetes.io/managed-by": MANAGED_BY}, "name": name}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": {key: items}}


def machine_config(table: Sequence[Mirror], *, tags: bool = False) -> str:
    """Render registries.conf as the Machine Config Operator of OpenShift 4.13 and newer writes it.

    ``tags`` adds the tag mirrors that an ImageTagMirrorSet of the same table gives; digest mirrors come first.
    """
    kinds = ("digest-only", "tag-only") if tags else ("digest-only",)

    def entry(item: Group) -> Iterator[str]:
        yield from _mco_entry(item)
        if item.blocked:
            yield "  blocked = true"
        for kind in kinds:
            for mirror in item.mirrors:
                yield from ("", "  [[registry.mirror]]", f'    location = "{mirror}"')
                yield f'    pull-from-mirror = "{kind}"'

    return _MCO_HEAD + _tables(table, entry)


def machine_config_by_digest(table: Sequence[Mirror]) -> str:
    """Render registries.conf as OpenShift 4.12 and older write it from an ImageContentSourcePolicy.

    That object knows no policy, so nothing is blocked there.
    """

    def entry(item: Group) -> Iterator[str]:
        yield from _mco_entry(item)
        yield "  mirror-by-digest-only = true"
        for mirror in item.mirrors:
            yield from ("", "  [[registry.mirror]]", f'    location = "{mirror}"')

    return _MCO_HEAD + _tables(table, entry)


def drop_in(table: Sequence[Mirror]) -> str:
    """Render a file for /etc/containers/registries.conf.d: tags and digests come from the mirrors.

    It leaves out ``pull-from-mirror`` (older containers/image ignores it) and the search list, which is the host's.
    """

    def entry(item: Group) -> Iterator[str]:
        yield "[[registry]]"
        yield f'{"prefix" if item.source.startswith("*.") else "location"} = "{item.source}"'
        if item.blocked:
            yield "blocked = true"
        for mirror in item.mirrors:
            yield from ("", "[[registry.mirror]]", f'location = "{mirror}"')

    return _tables(table, entry)


def _mco_entry(item: Group) -> Iterator[str]:
    wildcard = item.source.startswith("*.")
    yield "[[registry]]"
    yield f'  prefix = "{item.source if wildcard else ""}"'
    if not wildcard:
        yield f'  location = "{item.source}"'


def _tables(table: Sequence[Mirror], entry: Callable[[Group], Iterator[str]]) -> str:
    # Every string was matched against the location patterns, which leave nothing to escape in TOML.
    return "".join("\n" + "\n".join(entry(item)) + "\n" for item in group(table))


def render_mirrors(table: Sequence[Mirror], *, name: str) -> tuple[MirrorDocument, ...]:
    """Render every policy kind of ``table``; an empty table gives nothing.

    ``name`` is the cluster objects' name. The digest set precedes the ImageContentSourcePolicy: the first kind
    that the cluster serves is taken. Raises ``FormatError`` on a table or name that no cluster would take.
    """
    if not table:
        return ()
    allowed = "" if not any(entry.blocked for entry in group(table)) else _ICSP_NOTE
    return (
        _document("idms", idms(table, name=name), _IDMS_HEADER),
        _document("icsp", icsp(table, name=name), _ICSP_HEADER + allowed),
        _document("itms", itms(table, name=name), _ITMS_HEADER),
        MirrorDocument(
            "registries.conf",
            "documents/nodes/registries.conf",
            None,
            (_DROP_IN_HEADER.format(name=name) + drop_in(table)).encode("ascii"),
        ),
    )


_IDMS_HEADER = """\
# Digest mirrors for OpenShift 4.13 and newer: a pull by digest asks the mirror first.
# Where it goes: the cluster, oc apply -f idms.yaml (the loader does it; not together with icsp.yaml).
"""
_ICSP_HEADER = """\
# Digest mirrors for OpenShift 4.12 and older: a pull by digest asks the mirror first.
# Where it goes: the cluster, oc apply -f icsp.yaml (the loader does it where idms.yaml is not served).
"""
_ICSP_NOTE = """\
# This kind cannot say NeverContactSource: the source is still asked when the mirror fails.
"""
_ITMS_HEADER = """\
# Tag mirrors for OpenShift 4.13 and newer, for workloads that name images by tag.
# Where it goes: the cluster, oc apply -f itms.yaml, and every node is drained once. The loader applies it only
# where the bundle's config says mirrors.tags: true.
"""
_DROP_IN_HEADER = """\
# Mirrors by tag and by digest for nodes that are not OpenShift's: CRI-O, podman, buildah, skopeo.
# Where it goes: /etc/containers/registries.conf.d/50-airgap-{name}.conf; then systemctl reload crio.
"""


def _document(name: str, item: dict[str, object], header: str) -> MirrorDocument:
    content = header + "\n".join(_yaml(item)) + "\n"
    return MirrorDocument(name, f"documents/mirrors/{name}.yaml", item, content.encode("ascii"))


def _yaml(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, str):
                yield f"{key}: {_scalar(item)}"
            else:
                yield f"{key}:"
                # The field's style: list items start below their key's first letter, mappings are indented.
                yield from (("" if isinstance(item, list) else "  ") + line for line in _yaml(item))
    elif isinstance(value, list):
        for item in value:
            first, *rest = _yaml(item)
            yield "- " + first
            yield from ("  " + line for line in rest)
    else:
        yield _scalar(str(value))


def _scalar(text: str) -> str:
    plain = _PLAIN.fullmatch(text) is not None and text.lower() not in _YAML_WORDS
    # Locations and names hold neither quotes nor backslashes, so quoting is all it takes.
    return text if plain else f'"{text}"'
