"""The mirror table for nodes without OpenShift's operator: containerd, k3s, RKE2, MicroShift, HyperShift; pure.

Rendered and signed by the builder, rendered again by the loader for another registry, as :mod:`loader.mirrors` does.
Every file's header says where it goes. Sources: containerd ``docs/hosts.md``, k3s "Private Registry Configuration",
HyperShift ``api/hypershift/v1beta1``, MicroShift "Mirroring container images".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

from loader.bundle.manifest import Mirror
from loader.mirrors import Group, MirrorDocument, group, scopes_of

FOLDER = "documents/nodes"
# The API server's limits of HostedCluster.spec.imageContentSources.
MAX_HOSTED, MAX_HOSTED_TEXT = 255, 255
# Docker Hub answers its API under another name.
_UPSTREAM = {"docker.io": "registry-1.docker.io"}


@dataclass(frozen=True)
class NodeFiles:
    """The documents, and one sentence for everything that such a file cannot say and that is left out."""

    documents: tuple[MirrorDocument, ...]
    left_out: tuple[str, ...]


def render_node_files(table: Sequence[Mirror]) -> NodeFiles:
    """Render every node file of ``table``; an empty table gives nothing. Raises ``FormatError`` on a bad table."""
    groups = group(table)
    if not groups:
        return NodeFiles((), ())
    hosts: dict[str, list[Group]] = {}
    for item in groups:
        hosts.setdefault(item.source.partition("/")[0], []).append(item)
    parts = [_containerd(hosts), _k3s(hosts), _hypershift(groups), _microshift(groups)]
    documents = tuple(document for part in parts for document in part.documents)
    return NodeFiles(documents, tuple(note for part in parts for note in part.left_out))


def _document(name: str, lines: Sequence[str]) -> MirrorDocument:
    return MirrorDocument(name, f"{FOLDER}/{name}", None, ("\n".join(lines) + "\n").encode("ascii"))


def _comment(text: str) -> list[str]:
    return [f"# {line}".rstrip() for line in text.strip().splitlines()]


# containerd: one folder a host.


def _containerd(hosts: dict[str, list[Group]]) -> NodeFiles:
    documents, left_out = [], []
    for host, groups in hosts.items():
        bases = _common_bases(host, groups)
        if bases is None:
            left_out.append(
                f"containerd: {host}, because it knows mirrors per host alone and these sources have no common one"
            )
            continue
        # A folder's name for a host with a port; the colon of the other spelling cannot stand in an archive.
        folder = host.replace(":", "_") + "_" if ":" in host else host
        lines = [*_comment(_CONTAINERD_HEADER.format(host=host, folder=folder)), *_hosts_toml(host, groups[0], bases)]
        documents.append(_document(f"containerd/{folder}/hosts.toml", lines))
    return NodeFiles(tuple(documents), tuple(left_out))


def _common_bases(host: str, groups: Sequence[Group]) -> Optional[tuple[str, ...]]:
    """Return the places that stand for ``host`` as a whole, None where its sources do not agree on them."""
    if host.startswith("*."):
        return None
    found = {(tuple(_base(item, mirror, host) for mirror in item.mirrors), item.blocked) for item in groups}
    bases = next(iter(found))[0]
    return tuple(base for base in bases if base) if len(found) == 1 and all(bases) else None


def _base(item: Group, mirror: str, host: str) -> str:
    """Return ``mirror`` without the path that it repeats of the source, empty where it does not repeat it."""
    path = item.source[len(host) :]
    return mirror[: len(mirror) - len(path)] if mirror.endswith(path) and len(mirror) > len(path) else ""


def _hosts_toml(host: str, item: Group, bases: Sequence[str]) -> Iterator[str]:
    """Yield the file: mirrors first; without a server of its own, so that none is added, where that is forbidden."""
    rest = bases
    if item.blocked:
        yield f"server = {_url(bases[0])}"
        yield from _host_lines(bases[0], "")
        rest = bases[1:]
    else:
        yield f'server = "https://{_UPSTREAM.get(host, host)}"'
    for base in rest:
        yield ""
        yield f"[host.{_url(base)}]"
        yield from _host_lines(base, "  ")


def _url(base: str) -> str:
    host, slash, path = base.partition("/")
    # Not the plain path: containerd would put it in front of /v2/, where no registry looks.
    return json.dumps(f"https://{host}/v2/{path}" if slash else f"https://{host}")


def _host_lines(base: str, indent: str) -> Iterator[str]:
    yield f'{indent}capabilities = ["pull", "resolve"]'
    if "/" in base:
        yield f"{indent}override_path = true"
    yield f'{indent}# ca = "/etc/containerd/airgap/registry-ca.crt"'


_CONTAINERD_HEADER = """
Where containerd pulls images of {host} from: every image of that host, by tag and by digest.
Where it goes: /etc/containerd/certs.d/{folder}/hosts.toml on every node, and config_path =
"/etc/containerd/certs.d" in containerd's config.toml (plugin io.containerd.cri.v1.images, in 1.x
io.containerd.grpc.v1.cri; section registry). Only a new config_path needs a restart.
For a registry with a CA of its own: put it beside and take the # before ca away.
"""


# k3s and RKE2: rewrites of paths, all in one file.


def _k3s(hosts: dict[str, list[Group]]) -> NodeFiles:
    lines, left_out = [*_comment(_K3S_HEADER), "mirrors:"], []
    endpoints: dict[str, None] = {}
    for host, groups in hosts.items():
        endpoint = _k3s_endpoint(host, groups)
        if endpoint is None:
            left_out.append(
                f"k3s and RKE2: {host}, because each source of a host needs one mirror, all in one registry"
            )
            continue
        endpoints[endpoint] = None
        lines += [f"  {json.dumps(host)}:", f"    endpoint: [{json.dumps('https://' + endpoint)}]"]
        rewrites = [line for item in groups for line in _rewrite(item, host, endpoint)]
        lines += ["    rewrite:", *rewrites] if rewrites else []
    if not endpoints:
        return NodeFiles((), tuple(left_out))
    lines += _comment("\n".join(["configs:", *(_K3S_CONFIG.format(host=json.dumps(name)) for name in endpoints)]))
    return NodeFiles((_document("registries.yaml", lines),), tuple(left_out))


def _k3s_endpoint(host: str, groups: Sequence[Group]) -> Optional[str]:
    """Return the one registry of a host's sources, None where rewrites cannot say it.

    Rewrites have no order, so no two may match one name: no source may lie in another.
    """
    registries = {mirror.partition("/")[0] for item in groups for mirror in item.mirrors}
    sources = {item.source for item in groups}
    nested = any(scope in sources and scope != name for name in sources for scope in scopes_of(name))
    single = all(len(item.mirrors) == 1 for item in groups)
    return registries.pop() if len(registries) == 1 and single and not nested and not host.startswith("*.") else None


def _rewrite(item: Group, host: str, endpoint: str) -> list[str]:
    path, target = item.source[len(host) + 1 :], item.mirrors[0][len(endpoint) + 1 :]
    if path == target:
        return []
    if not path:
        pattern, result = "^(.*)$", f"{target}/$1"
    else:
        pattern, result = f"^{path.replace('.', '[.]')}(/.*)?$", f"{target}$1"
    if not target:
        pattern, result = f"^{path.replace('.', '[.]')}/(.*)$", "$1"
    return [f"      {json.dumps(pattern)}: {json.dumps(result)}"]


_K3S_HEADER = """
Where k3s and RKE2 pull images from, by tag and by digest.
Where it goes: /etc/rancher/k3s/registries.yaml or /etc/rancher/rke2/registries.yaml on every node; then restart k3s,
k3s-agent, rke2-server or rke2-agent, one node after the other. It replaces the file that is there: put the entries
of that one (mirrors, configs) in first. The source is still asked when the mirror fails,
unless the service runs with --disable-default-registry-endpoint.
"""
_K3S_CONFIG = """\
  {host}:
    auth: {{username: "", password: ""}}
    tls: {{ca_file: /etc/ssl/certs/registry-ca.crt}}"""


# HyperShift: the management cluster's HostedCluster.


def _hypershift(groups: Sequence[Group]) -> NodeFiles:
    kept = [item for item in groups if _fits(item)]
    left_out = [f"HyperShift: {item.source}, which its list cannot hold" for item in groups if not _fits(item)]
    if len(kept) > MAX_HOSTED:
        return NodeFiles((), (f"HyperShift: all, because a HostedCluster holds {MAX_HOSTED} sources at most",))
    lines = [*_comment(_HYPERSHIFT_HEADER)]
    if any(item.blocked for item in kept):
        lines += _comment("This list cannot say NeverContactSource: the source is still asked when the mirror fails.")
    lines += ["spec:", "  imageContentSources:"]
    for item in kept:
        lines += [f"  - source: {json.dumps(item.source)}", "    mirrors:"]
        lines += [f"    - {json.dumps(mirror)}" for mirror in item.mirrors]
    return NodeFiles((_document("hypershift.yaml", lines),) if kept else (), tuple(left_out))


def _fits(item: Group) -> bool:
    short = all(len(text) <= MAX_HOSTED_TEXT for text in (item.source, *item.mirrors))
    return short and not item.source.startswith("*.")


_HYPERSHIFT_HEADER = """
Digest mirrors of a hosted cluster; all of its NodePools are rolled once.
Where it goes: the HostedCluster on the management cluster. A merge patch replaces the whole list, so put the entries
that are there already (oc get hostedcluster NAME -o yaml) in first; then
oc -n NAMESPACE patch hostedcluster NAME --type=merge --patch-file hypershift.yaml
The registry's login goes to spec.pullSecret, its CA to spec.additionalTrustBundle of the same object.
On ROSA with hosted control planes: rosa create image-mirror --type digest --source SOURCE --mirrors MIRROR instead.
"""


# MicroShift: CRI-O's own drop-in, by digest as on OpenShift.


def _microshift(groups: Sequence[Group]) -> NodeFiles:
    lines = _comment(_MICROSHIFT_HEADER)
    for item in groups:
        name = "prefix" if item.source.startswith("*.") else "location"
        lines += ["", "[[registry]]", f"{name} = {json.dumps(item.source)}", "mirror-by-digest-only = true"]
        lines += ["blocked = true"] if item.blocked else []
        for mirror in item.mirrors:
            lines += ["", "[[registry.mirror]]", f"location = {json.dumps(mirror)}"]
    return NodeFiles((_document("microshift.conf", lines),), ())


_MICROSHIFT_HEADER = """
Digest mirrors for MicroShift.
Where it goes: /etc/containers/registries.conf.d/999-microshift-mirror.conf; then systemctl restart crio.
The registry's login goes to /etc/crio/openshift-pull-secret, its CA to /etc/pki/ca-trust/source/anchors (then
update-ca-trust).
"""
