from __future__ import annotations

import dataclasses
import shlex

import pytest

from loader.bundle.errors import FormatError
from loader.bundle.manifest import Target, When
from loader.cluster.oclines import oc_lines
from loader.cluster.rookrange import in_range, parse_version
from tests.unit.loader.cluster import makers

APPLY = "oc apply --server-side --field-manager=airgap-loader -f"


def there_already(resource: str, program: str = "oc") -> list[str]:
    shown = f"{program} get {resource}/rook-ceph-images -o yaml"
    return [
        f"# where `{shown}` shows entries already: put those into the file first, they go otherwise;",
        "# a conflict with airgap-loader is about those entries then: add --force-conflicts",
    ]


def test_article_by_hand() -> None:
    documents = [document for document, _ in makers.article()]
    only = "# only for Rook >=v1.4.0 <v1.6.0:"
    oc, config_map = "oc -n rook-ceph", "rook-ceph-operator-config"
    assert list(oc_lines([*documents[2:], *documents[:2]])) == [
        "# where `config.openshift.io/v1/imagedigestmirrorsets` is served:",
        *there_already("imagedigestmirrorset.config.openshift.io"),
        f"{APPLY} documents/mirrors/idms.yaml",
        f"# where `{makers.ICSP_API}` is served, and not also ImageDigestMirrorSet:",
        *there_already("imagecontentsourcepolicy.operator.openshift.io"),
        f"{APPLY} documents/mirrors/icsp.yaml",
        only,
        f'{oc} patch deployment.apps/rook-ceph-operator --type=strategic --patch="$(cat documents/rook/operator.json)"',
        only,
        f"{oc} get configmap {config_map} >/dev/null 2>&1 || {oc} create configmap {config_map}",
        f'{oc} patch configmap/{config_map} --type=merge --patch="$(cat documents/rook/csi.json)"',
        only,
        f'{oc} patch cephcluster.ceph.rook.io/rook-ceph --type=merge --patch="$(cat documents/rook/cluster.json)"',
        "# to put on the nodes by hand where needed: documents/nodes/registries.conf",
    ]


def test_what_is_for_the_cluster_is_not_said_to_be_for_nodes() -> None:
    target = Target("config.openshift.io/v1", "ImageTagMirrorSet", None, "rook-ceph-images")
    tags = dataclasses.replace(makers.idms()[0], path="documents/mirrors/itms.yaml", action="file", target=target)
    policy = makers.document("documents/policies/signed.yaml", "mirrors", "file")
    assert list(oc_lines([tags, policy])) == [
        "# only where workloads name images by tag; every node is drained for it:",
        f"#   {APPLY} documents/mirrors/itms.yaml",
        "# only where this cluster shall check signatures; its first lines say how:",
        f"#   {APPLY} documents/policies/signed.yaml",
    ]


def test_a_person_is_told_what_to_wait_for_before_the_next_phase() -> None:
    waits = {"documents/rook/operator.json": "rollout", "documents/rook/cluster.json": "ceph"}
    article = [document for document, _ in makers.article()]
    documents = [
        dataclasses.replace(document, wait="pools" if document.phase == "mirrors" else waits.get(document.path))
        for document in article
    ]
    lines = oc_lines(documents)
    pools = (
        "# where there are MachineConfigPools, until every node has the mirrors: sleep 60; "
        "oc wait machineconfigpools --all --for=condition=Updated --timeout=2h"
    )
    operator = "# until it runs: oc -n rook-ceph rollout status deployment/rook-ceph-operator"
    assert lines.index(f"{APPLY} documents/mirrors/icsp.yaml") + 1 == lines.index(pools)
    assert lines.count(pools) == 1
    patches = [number for number, line in enumerate(lines) if " patch " in line]
    assert patches[1] < lines.index(operator) < patches[2], "operator and CSI images go together"


def test_new_csi_images_of_v1_20_wait_for_the_new_operator() -> None:
    operator = dataclasses.replace(makers.operator_patch()[0], wait="rollout")
    target = Target("v1", "ConfigMap", "rook-ceph", "rook-csi-operator-image-set-configmap")
    csi = dataclasses.replace(makers.csi_patch()[0], wait="csi", target=target, when=When(None, ">=v1.19.0 <v1.21.0"))
    lines = oc_lines([operator, csi])
    rollout = lines.index("# until it runs: oc -n rook-ceph rollout status deployment/rook-ceph-operator")
    (patch,) = (number for number, line in enumerate(lines) if "image-set-configmap --type" in line)
    assert rollout < patch < len(lines) - 1, "and the poke comes behind the patch"


def test_an_open_place_has_one_name_in_all_lines() -> None:
    target = ("apps/v1", "Deployment", None, "rook-ceph-tools")
    document = makers.document("documents/rook/toolbox.json", "rook", "strategic-patch", target=target)
    lines = oc_lines([dataclasses.replace(document, wait="rollout")])
    assert [line.count("oc -n CLUSTER-NAMESPACE") for line in lines] == [0, 1, 1]
    assert "rollout status deployment/rook-ceph-tools" in lines[-1]


def test_one_mirror_kind_needs_no_choice_and_kubectl_may_be_the_program() -> None:
    *comments, line = oc_lines([makers.idms()[0]], program="kubectl")
    assert line == "kubectl apply --server-side --field-manager=airgap-loader -f documents/mirrors/idms.yaml"
    assert comments == there_already("imagedigestmirrorset.config.openshift.io", "kubectl")


def test_paths_are_quoted() -> None:
    document = makers.document("documents/a b;c.json", "after-rook", "apply")
    assert shlex.split(oc_lines([document])[0])[-1] == "documents/a b;c.json"


def test_patch_without_target_is_refused() -> None:
    with pytest.raises(FormatError):
        oc_lines([makers.document("documents/x.json", "rook", "merge-patch")])


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v1.5.0", (1, 5, 0)),
        ("1.20.6", (1, 20, 6)),
        ("v1.5.0-beta.0", (1, 5, 0)),
        ("v1.5.0-12-gab12cd3", (1, 5, 0)),
        ("master", None),
        ("v1.5", None),
        ("v1.5.0\n", None),
        ("v1.5.0 ", None),
        ("v99999.0.0", None),
    ],
)
def test_version(text: str, version: object) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize(
    ("bounds", "fits"),
    [
        (">=v1.4.0 <v1.6.0", True),
        (">v1.5.0", False),
        (">=1.5.0", True),
        ("<=v1.5.0", True),
        ("<v1.5.0", False),
        ("v1.5.0", True),
        ("=v1.5.1", False),
        (">=v1.10.0", False),
    ],
)
def test_range(bounds: str, fits: bool) -> None:
    assert in_range((1, 5, 0), bounds) is fits


@pytest.mark.parametrize("bounds", ["", ">=", "~1.5", ">=v1.4.0  <v1.6.0", ">=v1.4.0,<v1.6.0", "latest"])
def test_range_that_cannot_be_read(bounds: str) -> None:
    with pytest.raises(FormatError, match="range"):
        in_range((9, 9, 9), bounds)


def test_a_csi_operator_is_poked_where_one_may_run() -> None:
    def lines(rook: str) -> list[str]:
        document = dataclasses.replace(makers.csi_patch()[0], wait="csi", when=When(None, rook))
        return [line for line in oc_lines([document]) if "drivers" in line]

    assert lines(">=v1.4.0 <v1.6.0") == []
    (line,) = lines(">=v1.19.0 <v1.21.0")
    assert line.startswith("oc -n rook-ceph annotate drivers.csi.ceph.io --all --overwrite airgap/images=")
