"""Values for Rook's Helm charts that name every image by digest; pure.

A chart writes ``repository:tag`` and has no field for a digest: the repository ``name@sha256`` and the tag ``<hex>``
give the reference ``name@sha256:<hex>``. Source: rook/rook ``deploy/charts`` (``cluster/charts`` before v1.8) at v1.4.0
to v1.20.6. ``loader.chartvalues`` reads the first line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Union

from bundler.render.model import PinnedImage, Rendered
from bundler.render.rook import CSI_OPERATOR, RookConfig, assign, numbers
from loader.bundle.manifest import Document, When
from loader.chartvalues import FOLDER, OPERATOR_CHART, WITHOUT_DRIVERS, first_line, needs_drivers
from loader.cluster.rookrange import Version

CLUSTER_CHART = "rook-ceph-cluster"
# csi.<x>.image until then.
_SPLIT: Version = (1, 14, 0)
_CLUSTER_CHART: Version = (1, 7, 0)
# cephClusterSpec.cephVersion.image alone until then.
_CEPH_IMAGE: Version = (1, 19, 0)
# The toolbox is of Rook's own image until then; a chart without a value for it names its own by tag.
_CEPH_TOOLBOX: Version = (1, 10, 0)
_CSI: Mapping[str, str] = {
    "plugin": "cephcsi",
    "registrar": "registrar",
    "provisioner": "provisioner",
    "resizer": "resizer",
    "snapshotter": "snapshotter",
    "attacher": "attacher",
    "addons": "csiAddons",
    "volumeReplication": "volumeReplication",
    "nfs": "nfs",
}

Values = dict[str, Union[str, "Values"]]


def render_helm(rook: RookConfig, images: Sequence[PinnedImage]) -> tuple[Rendered, ...]:
    """Render the values of the operator's chart, and of the cluster's from v1.7.0 on if there is a Ceph image."""
    roles, version = assign(rook, images), numbers(rook.version)
    charts = {OPERATOR_CHART: _operator(roles, version)}
    if "ceph" in roles and version >= _CLUSTER_CHART:
        charts[CLUSTER_CHART] = _cluster(roles, version)
    return tuple(_document(rook, chart, values) for chart, values in charts.items())


def _operator(roles: Mapping[str, PinnedImage], version: Version) -> Values:
    csi: Values = {
        name: _split(roles[role]) if version >= _SPLIT else {"image": roles[role].reference}
        for role, name in _CSI.items()
        if role in roles
    }
    values: Values = {"image": _split(roles["operator"]), "csi": csi}
    if "csiOperator" in roles and version >= CSI_OPERATOR:
        # The chart of the ceph-csi-operator is a part of this one.
        values["ceph-csi-operator"] = {"controllerManager": {"manager": {"image": _split(roles["csiOperator"])}}}
    return values


def _cluster(roles: Mapping[str, PinnedImage], version: Version) -> Values:
    ceph = roles["ceph"]
    toolbox = roles.get("toolbox", ceph if version >= _CEPH_TOOLBOX else roles["operator"])
    values: Values = {"toolbox": {"image": toolbox.reference}}
    # Later charts print it behind what they make of cephImage, and the last one wins: a release that was installed
    # with it would keep its old Ceph. null does not take it away: the charts have no value of their own there.
    values["cephClusterSpec"] = {"cephVersion": {"image": ceph.reference}}
    if version >= _CEPH_IMAGE:
        values["cephImage"] = _split(ceph)
    return values


def _split(image: PinnedImage) -> Values:
    kind, _, digits = image.digest.partition(":")
    return {"repository": f"{image.source}@{kind}", "tag": digits}


def _document(rook: RookConfig, chart: str, values: Values) -> Rendered:
    document = Document(
        path=f"{FOLDER}{chart}.yaml",
        phase="rook",
        action="file",
        target=None,
        wait=None,
        when=When(api=None, rook=rook.running),
        otherwise="skip",
    )
    header = (
        first_line(chart, rook.version),
        "# For a Rook that Helm installed, in place of the patches of documents/rook. Every image by its digest.",
        *([f"# {WITHOUT_DRIVERS}"] if chart == OPERATOR_CHART and needs_drivers(rook.version) else []),
    )
    text = "\n".join([*header, *_lines(values, "")]) + "\n"
    return Rendered(f"helm/{chart}", document, text.encode("ascii"))


def _lines(values: Values, indent: str) -> list[str]:
    """Return ``values`` as YAML: every string in double quotes, a tag of digits alone would be a number without."""
    lines = []
    for name, value in values.items():
        if isinstance(value, str):
            lines.append(f"{indent}{name}: {json.dumps(value)}")
        else:
            lines += [f"{indent}{name}:", *_lines(value, f"{indent}  ")]
    return lines
