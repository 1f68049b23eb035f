"""The values for Rook's charts, given to the real helm: an upgrade over the line where a chart moved a key."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from bundler.render.helm import render_helm
from bundler.rookpresets import load_releases
from tests.support.apiserver import ApiServer
from tests.support.gotools import tool
from tests.unit.bundler.render.test_rook_releases import config, images_of

# As the template of rook-ceph-cluster v1.19 puts Ceph's image: its own key, then all of cephClusterSpec behind it.
TEMPLATE = """\
apiVersion: ceph.rook.io/v1
kind: CephCluster
metadata: {name: helms}
spec:
  cephVersion:
    image: "{{ .Values.cephImage.repository }}:{{ .Values.cephImage.tag }}"
{{ toYaml .Values.cephClusterSpec | indent 2 }}
"""
CHART_VALUES = {
    "cephImage": {"repository": "quay.io/ceph/ceph", "tag": "v19"},
    "cephClusterSpec": {"mon": {"count": 3}},
}


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    folder = tmp_path / "chart"
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: chart\nversion: 1.0.0\n")
    (folder / "values.yaml").write_text(yaml.safe_dump(CHART_VALUES))
    (folder / "templates/x.yaml").write_text(TEMPLATE)
    return folder


def values(folder: Path, release: str) -> tuple[Path, str]:
    """The file for the cluster's chart of a release, and the Ceph image it names."""
    found = load_releases()[release]
    images = images_of(found)
    item = next(one for one in render_helm(config(found), images) if one.name == "helm/rook-ceph-cluster")
    path = folder / f"{release}.yaml"
    path.write_bytes(item.content)
    return path, yaml.safe_load(item.content)["toolbox"]["image"]


def test_an_upgrade_to_a_chart_with_another_key_leaves_no_old_ceph(
    api_server: ApiServer, chart: Path, tmp_path: Path
) -> None:
    def helm(*words: str) -> None:
        login = ["--kubeconfig", str(api_server.kubeconfig), "--namespace", "default"]
        subprocess.run([tool("helm"), *words, *login], check=True, capture_output=True, timeout=120)

    old, image = values(tmp_path, "v1.17.0")
    new, wanted = values(tmp_path, "v1.19.10")
    assert image != wanted
    helm("install", "rook", str(chart), "--values", str(old))
    try:
        for reuse in ("--reset-then-reuse-values", "--reuse-values"):
            helm("upgrade", "rook", str(chart), reuse, "--values", str(new))
            shown = ("get", "cephcluster", "helms", "-n", "default", "-o", "jsonpath={.spec.cephVersion.image}")
            assert api_server.kubectl(*shown) == wanted
    finally:
        helm("uninstall", "rook")
