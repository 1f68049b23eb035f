"""The lines a person types where the loader may not: ``--no-apply``; pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from loader.bundle.manifest import AUTO, Document, Target
from loader.cluster.failures import printable
from loader.cluster.mirrorsets import DIGEST_KINDS, ITMS
from loader.cluster.objects import MANAGER, POKE, Key
from loader.cluster.rookauto import is_open, of_cluster
from loader.cluster.rookrange import CSI_OPERATOR, in_range
from loader.cluster.stages import TOGETHER
from loader.cluster.wishes import phase_number, target_key

# Objects that a load leaves to a person.
_BY_TAG = "only where workloads name images by tag; every node is drained for it"
_BY_CHOICE = "only where this cluster shall check signatures; its first lines say how"
_TYPES = {"merge-patch": "merge", "strategic-patch": "strategic"}


def oc_lines(documents: Iterable[Document], *, program: str = "oc") -> tuple[str, ...]:
    """Return shell lines that do by hand what ``apply`` does, in its order; comments say where a choice is left.

    The file names are the documents' paths: run them in the folder the documents were written to. ``--patch`` with
    the file's content works with every oc and kubectl; ``--patch-file`` is missing before 4.7 and 1.20.
    """
    ordered = sorted(documents, key=phase_number)
    kinds = {d.target.kind for d in ordered if d.action == "apply" and d.target}
    preferred = [kind for kind in DIGEST_KINDS if kind in kinds]
    lines: list[str] = []
    waits: list[str] = []
    phase = ""
    for document in ordered:
        if document.phase != phase or _comes_after(document):
            lines += dict.fromkeys(waits)
            waits = []
        phase = document.phase
        waits += _waits(program, document)
        if document.action == "file" and document.phase == "rook":
            continue  # values for Helm: loader.charts has their lines
        if document.action == "file" and document.phase == "mirrors":
            by_tag = document.target is not None and document.target.kind == ITMS
            lines.append(f"# {_BY_TAG if by_tag else _BY_CHOICE}:")
            lines.append(f"#   {_apply(program, document)}")
        elif document.action == "file":
            lines.append(f"# to put on the nodes by hand where needed: {printable(document.path)}")
        elif document.action == "apply":
            lines += [*_choice(document, preferred), *_there_already(program, document), _apply(program, document)]
        else:
            lines += _patch_lines(program, document)
    return (*lines, *dict.fromkeys(waits))


def _apply(program: str, document: Document) -> str:
    # As a load does it: under another manager's name the next load would be in conflict with it.
    return f"{program} apply --server-side --field-manager={MANAGER} -f {shlex.quote(document.path)}"


def _there_already(program: str, document: Document) -> list[str]:
    """Return what to do first where the mirror object is there: its list is one value, and is replaced as a whole."""
    if document.phase != "mirrors" or document.target is None:
        return []
    key = target_key(document)
    shown = f"{program} get {shlex.quote(f'{key.resource}/{key.name}')} -o yaml"
    return [
        f"# where `{shown}` shows entries already: put those into the file first, they go otherwise;",
        f"# a conflict with {MANAGER} is about those entries then: add --force-conflicts",
    ]


def _comes_after(document: Document) -> bool:
    """Tell whether what was begun before is waited for before this change of Rook."""
    target = document.target
    if document.phase != "rook" or document.action == "file" or target is None:
        return False
    return (target.kind, target.name) not in TOGETHER


def _waits(program: str, document: Document) -> list[str]:
    """Return what to wait for before the next phase, as comments: how long it takes, and whether, only a site knows."""
    if document.wait == "pools" and document.action != "file":
        # Until the operator has rendered the change its pools go on saying Updated.
        wait = f"{program} wait machineconfigpools --all --for=condition=Updated --timeout=2h"
        return [f"# where there are MachineConfigPools, until every node has the mirrors: sleep 60; {wait}"]
    if document.wait == "rollout" and document.target is not None:
        target = document.target
        place = f"{program} -n {shlex.quote(target.namespace or _open_namespace(target))}"
        return [f"# until it runs: {place} rollout status deployment/{shlex.quote(target.name)}"]
    return []


def _choice(document: Document, preferred: list[str]) -> list[str]:
    """Return the comment over a mirror document that stands for one of several kinds."""
    kind = document.target.kind if document.target else ""
    if kind not in preferred or len(preferred) < 2:
        return []
    place = preferred.index(kind)
    served = f"where `{document.when.api}` is served" if document.when.api else f"where {kind} is served"
    others = f", and not also {', '.join(preferred[:place])}" if place else ""
    return [f"# {served}{others}:"]


def _patch_lines(program: str, document: Document) -> list[str]:
    key = target_key(document)
    place = f"{program} -n {shlex.quote(key.namespace)}" if key.namespace else program
    lines = [f"# only for Rook {printable(document.when.rook)}:"] if document.when.rook else []
    if is_open(document) and document.target is not None:
        return [*lines, *_open_lines(program, document, document.target)]
    name = shlex.quote(f"{key.resource}/{key.name}")
    content = f'"$(cat {shlex.quote(document.path)})"'
    lines += _created_first(place, key)
    lines.append(f"{place} patch {name} --type={_TYPES[document.action]} --patch={content}")
    return [*lines, *_poke(place, document)]


def _poke(place: str, document: Document) -> list[str]:
    """Return the line that lets a csi-operator look at new images: it watches its Drivers, not their ConfigMap."""
    running = document.when.rook
    if document.wait != "csi" or not running or not any(in_range((1, minor, 0), running) for minor in CSI_OPERATOR):
        return []
    value = f'"$(sha256sum {shlex.quote(document.path)} | cut -c1-16)"'
    return [
        "# where the ceph-csi-operator runs, once Rook has the new images:",
        f"{place} annotate drivers.csi.ceph.io --all --overwrite {POKE}={value}",
    ]


def _open_lines(program: str, document: Document, target: Target) -> list[str]:
    """Return the lines of a patch whose place a person has to look up."""
    kind = "cephclusters" if of_cluster(target) else "deployments -l app=rook-ceph-operator"
    place = f"{program} -n {target.namespace or _open_namespace(target)}"
    name = "NAME" if target.name == AUTO else target.name
    content = f'"$(cat {shlex.quote(document.path)})"'
    key = target_key(document)
    resource = key.resource
    return [
        f"# its place and name are those that `{program} get {kind} -A` shows:",
        *_created_first(place, key),
        f"{place} patch {shlex.quote(f'{resource}/{name}')} --type={_TYPES[document.action]} --patch={content}",
        *_poke(place, document),
    ]


def _open_namespace(target: Target) -> str:
    return "CLUSTER-NAMESPACE" if of_cluster(target) else "OPERATOR-NAMESPACE"


def _created_first(place: str, key: Key) -> list[str]:
    """Return the line that makes a ConfigMap which some Rook installs lack (Helm, v1.4 to v1.8.2)."""
    if key.kind != "ConfigMap":
        return []
    name = shlex.quote(key.name)
    return [f"{place} get configmap {name} >/dev/null 2>&1 || {place} create configmap {name}"]
