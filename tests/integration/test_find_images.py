"""``airgap-bundler find-images`` from outside."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from bundler.config import load_config
from tests.support.cli import Cli
from tests.support.fakebin import FakeBin, Reply, fake_bin
from tests.support.gotools import kubectl, tool

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: NAME}\nspec: {containers: [{name: c, image: 'IMAGE'}]}\n"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def pod(name: str, image: str) -> str:
    return POD.replace("NAME", name).replace("IMAGE", image)


def write(cli: Cli, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = cli.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def images(cli: Cli, *args: object, status: int = 0) -> dict[str, list[str]]:
    """The certain images with their places."""
    found = cli.bundler("find-images", *args, "--json").expect(status).json
    return {item["image"]: [place["where"] for place in item["places"]] for item in found["images"]}


def test_manifests_and_lists(cli: Cli) -> None:
    write(
        cli,
        {
            "m/a.yaml": f"{pod('a', 'busybox')}---\n{pod('b', 'quay.io/x/y:1')}",
            "m/deep/b.json": json.dumps(
                {"kind": "List", "items": [{"kind": "Pod", "spec": {"containers": [{"image": "a/b:1"}]}}]}
            ),
            "m/images.txt": " rook/ceph:v1.14.9\n# no\n\nquay.io/x/y:1\n",
            "m/notes.txt": "quay.io/not/read:1\n",
            "m/.hidden.yaml": pod("h", "quay.io/not/read:2"),
        },
    )
    assert images(cli, "m") == {
        "docker.io/a/b:1": ["m/deep/b.json:1"],
        "docker.io/library/busybox:latest": ["m/a.yaml:4"],
        "docker.io/rook/ceph:v1.14.9": ["m/images.txt:1"],
        "quay.io/x/y:1": ["m/a.yaml:9", "m/images.txt:4"],
    }
    out = cli.bundler("find-images", "m").expect().out
    assert "quay.io/x/y:1  (Pod b, container c in m/a.yaml:9; listed in m/images.txt:4)" in out


def test_what_a_folder_has_and_is_not_looked_at_is_told(cli: Cli) -> None:
    write(cli, {"m/a.yaml": pod("a", "a/b:1"), "m/B.YAML": pod("b", "a/c:1"), "real.yaml": pod("c", "a/d:1")})
    (cli.folder / "m" / "link.yaml").symlink_to("../real.yaml")
    (cli.folder / "m" / "README").symlink_to("../real.yaml")
    found = cli.bundler("find-images", "m").expect()
    assert "image     docker.io/a/b:1 " in found.out
    assert "a/c" not in found.out
    (line,) = found.err.splitlines()
    assert line.startswith("note      m: not looked at")
    assert line.endswith("B.YAML, link.yaml; name them to look at them")
    assert len(images(cli, "m/B.YAML", "m/link.yaml")) == 2


def test_what_only_looks_like_one_stands_apart(cli: Cli) -> None:
    write(
        cli, {"a.yaml": "kind: X\nspec:\n  a: quay.io/x/y:1\n  b: quay.io/x/z:1\n", "b.yaml": pod("b", "quay.io/x/y:1")}
    )
    found = cli.bundler("find-images", "a.yaml", "b.yaml", "--json").expect().json
    assert [item["image"] for item in found["images"]] == ["quay.io/x/y:1"]
    assert [(item["image"], item["places"][0]["where"]) for item in found["perhaps"]] == [("quay.io/x/z:1", "a.yaml:4")]


def test_a_fault_hides_nothing_of_the_others(cli: Cli) -> None:
    write(
        cli,
        {
            "m/a.yaml": "a: [",
            "m/b.yaml": pod("b", "a/b:1"),
            "m/c.yaml": "a: !!python/x y\n",
            "m/images.txt": "A\nq/r:1\n",
        },
    )
    assert list(images(cli, "m", "gone", status=2)) == ["docker.io/a/b:1", "docker.io/q/r:1"]
    ran = cli.bundler("find-images", "m", "gone").expect(2)
    assert "docker.io/a/b:1" in ran.out
    for place in ("m/a.yaml:2", "m/c.yaml:1", "m/images.txt:1", "gone"):
        assert f"    {place}: " in "\n".join(ran.three_lines)


def test_kustomizations(cli: Cli) -> None:
    write(
        cli,
        {
            "base/kustomization.yaml": "resources: [pods.yaml]\n",
            "base/pods.yaml": f"{pod('a', 'rook/ceph:v1')}---\n{pod('b', 'quay.io/x/y:1')}---\n{pod('c', 'a/keep:1')}",
            "base/unused.yaml": pod("u", "a/unused:1"),
            "over/kustomization.yaml": (
                "resources: [../base]\npatches: [{path: patch.yaml}]\nimages:\n"
                "- {name: rook/ceph, newName: reg.example/rook/ceph, newTag: v2}\n"
                f"- {{name: quay.io/x/y, digest: 'sha256:{'1' * 64}'}}\n"
            ),
            "over/patch.yaml": pod("a", "quay.io/patched/one:1"),
        },
    )
    assert list(images(cli, "over")) == [
        "docker.io/a/keep:1",
        "quay.io/patched/one:1",
        f"quay.io/x/y@sha256:{'1' * 64}",
        "reg.example/rook/ceph:v2",
    ]
    assert list(images(cli, "base")) == ["docker.io/a/keep:1", "docker.io/rook/ceph:v1", "quay.io/x/y:1"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("resources: [../secret.yaml]", "lies outside"),
        ("resources: [https://example.com/x.yaml]", "fetched from elsewhere"),
        ("resources: [../plain]", "without a kustomization.yaml"),
        ("resources: [gone.yaml]", "is not there"),
        ("resources: [../k]", "names itself"),
        ("helmCharts: [{name: x}]", "charts are not rendered here"),
        ("generators: [x.yaml]", "are not run here"),
        ("transformers: [x.yaml]", "are not run here"),
        ("images: [{name: '.*/x', newTag: a}]", "the pattern"),
        ("images: [{name: x, tagSuffix: a}]", "tagSuffix is not read"),
        ("components: [../plain]", "without a kustomization.yaml"),
        ("patches: [{path: ../secret.yaml}]", "lies outside"),
        ("configMapGenerator: [{name: x, files: [a=../secret.yaml]}]", "lies outside"),
        ("resources: []\n---\nresources: []", "one YAML document"),
    ],
)
def test_kustomizations_that_reach_out(cli: Cli, line: str, problem: str) -> None:
    secret = pod("s", "a/secret:1")
    write(cli, {"k/kustomization.yaml": f"{line}\n", "secret.yaml": secret, "plain/pod.yaml": secret})
    found = cli.bundler("find-images", "k", "--json").expect(2).json
    assert found["images"] == []
    assert problem in found["problems"][0]["problem"]


def with_program(cli: Cli, name: str, *replies: Reply) -> tuple[Cli, FakeBin]:
    fake = fake_bin(cli.folder / "bin", name, replies)
    return Cli(cli.folder, cli.environ, f"{cli.folder / 'bin'}{os.pathsep}{os.defpath}"), fake


def test_charts(cli: Cli) -> None:
    write(
        cli, {"m/chart/Chart.yaml": "name: x\n", "m/chart/templates/a.yaml": "{{ broken", "m/b.yaml": pod("b", "a/b:1")}
    )
    write(cli, {"v.yaml": "a: 1\n"})
    ran = cli.bundler("find-images", "m").expect(2)
    assert "needs helm" in ran.err
    assert "docker.io/a/b:1" in ran.out
    at, fake = with_program(cli, "helm", Reply(when=("template",), stdout=pod("a", "quay.io/from/chart:1")))
    assert images(at, "m", "--values", "v.yaml") == {
        "docker.io/a/b:1": ["m/b.yaml:4"],
        "quay.io/from/chart:1": ["m/chart (rendered):4"],
    }
    (call,) = fake.calls()
    assert call.argv[-2:] == ("--values", "v.yaml")


def test_a_chart_that_does_not_render(cli: Cli) -> None:
    write(cli, {"chart/Chart.yaml": "name: x\n", "b.yaml": pod("b", "a/b:1")})
    at, _ = with_program(
        cli, "helm", Reply(when=("template",), status=1, stderr="found symbolic link\nError: nil pointer in x.yaml\n")
    )
    ran = at.bundler("find-images", "chart", "b.yaml").expect(2)
    assert "symbolic" not in ran.err
    assert "nil pointer in x.yaml" in ran.err
    assert "docker.io/a/b:1" in ran.out


PODS = {
    "items": [
        {
            "metadata": {"name": "p", "namespace": "n"},
            "spec": {"containers": [{"name": "e", "image": "quay.io/by/id:1"}]},
            "status": {
                "containerStatuses": [
                    {
                        "name": "c",
                        "image": "quay.io/x/y:1",
                        "imageID": f"docker-pullable://quay.io/x/y@sha256:{'1' * 64}",
                    },
                    {"name": "e", "image": "sha256:5", "imageID": f"quay.io/by/id@sha256:{'5' * 64}"},
                    {"name": "d", "image": f"quay.io/x/z@sha256:{'2' * 64}", "imageID": "sha256:3"},
                ],
                "initContainerStatuses": [{"name": "i", "image": "sha256:4", "imageID": ""}],
            },
        },
        {"metadata": {"name": "pending"}, "status": None},
    ]
}


def test_a_cluster(cli: Cli) -> None:
    at, fake = with_program(cli, "oc", Reply(when=("get", "pods"), stdout=json.dumps(PODS)))
    assert images(at, "--from-cluster", "--context", "c") == {
        f"quay.io/by/id:1@sha256:{'5' * 64}": ["cluster"],
        f"quay.io/x/y:1@sha256:{'1' * 64}": ["cluster"],
        f"quay.io/x/z@sha256:{'2' * 64}": ["cluster"],
    }
    (call,) = fake.calls()
    assert call.argv[:2] == ("--context", "c")


def test_a_cluster_that_forbids_listing(cli: Cli) -> None:
    at, _ = with_program(
        cli, "oc", Reply(when=("get",), status=1, stderr="Error from server (Forbidden): pods is forbidden\n")
    )
    assert "pods is forbidden" in " ".join(at.bundler("find-images", "--from-cluster").expect(7).three_lines)
    nowhere = Cli(cli.folder, cli.environ, str(cli.folder / "none"))
    assert "oc or kubectl" in " ".join(nowhere.bundler("find-images", "--from-cluster").expect(2).three_lines)
    cli.bundler("find-images").expect(2)


def test_what_is_found_goes_into_a_config(cli: Cli) -> None:
    cli.bundler("init", "--registry", "reg.example").expect()
    before = (cli.folder / "bundle.yaml").read_text()
    write(cli, {"a.yaml": pod("a", "quay.io/x/y:1")})
    ran = cli.bundler("find-images", "a.yaml", "--add-to", "bundle.yaml").expect()
    assert "quay.io/x/y:1 to bundle.yaml" in ran.out
    after = (cli.folder / "bundle.yaml").read_text()
    assert [line for line in after.splitlines() if "quay.io/x/y:1" not in line] == before.splitlines()
    assert "quay.io/x/y:1" in [str(image.name) for image in load_config(cli.folder / "bundle.yaml").images]
    assert cli.bundler("find-images", "a.yaml", "--add-to", "bundle.yaml", "--json").expect().json["added"] == []
    assert (cli.folder / "bundle.yaml").read_text() == after


DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  template:
    spec:
      containers:
      - name: c
        image: "{{ .Values.image.repository }}:{{ .Values.image.tag }}"
      {{- if .Values.extra }}
      - {name: e, image: "quay.io/x/extra:1"}
      {{- end }}
"""
CHART = {
    "good/Chart.yaml": "apiVersion: v2\nname: good\nversion: 1.0.0\n",
    "good/values.yaml": 'image: {repository: quay.io/x/app, tag: "1"}\nextra: false\n',
    "good/templates/d.yaml": DEPLOYMENT,
    "bad/Chart.yaml": "apiVersion: v2\nname: bad\nversion: 1.0.0\n",
    "bad/templates/x.yaml": 'x: {{ required "set foo" .Values.foo }}\n',
    "values.yaml": 'image: {tag: "2"}\nextra: true\n',
    "pod.yaml": pod("a", "a/b:1"),
}


def test_charts_are_rendered_by_the_real_helm(tmp_path: Path) -> None:
    cli = Cli(tmp_path, path=os.pathsep.join([str(tool("helm").parent), os.defpath]))
    write(cli, CHART)
    assert images(cli, "good") == {"quay.io/x/app:1": ["good (rendered):11"]}
    assert set(images(cli, "good", "--values", "values.yaml")) == {"quay.io/x/app:2", "quay.io/x/extra:1"}
    subprocess.run([tool("helm"), "package", "good"], cwd=tmp_path, check=True, capture_output=True)
    assert set(images(cli, "good-1.0.0.tgz")) == {"quay.io/x/app:1"}


def test_a_chart_that_does_not_render_hides_nothing_of_the_rest(tmp_path: Path) -> None:
    cli = Cli(tmp_path, path=os.pathsep.join([str(tool("helm").parent), os.defpath]))
    write(cli, CHART)
    ran = cli.bundler("find-images", "bad", "good", "pod.yaml").expect(2)
    assert "image     docker.io/a/b:1" in ran.out
    assert "image     quay.io/x/app:1" in ran.out
    assert "set foo" in ran.three_lines[2]
    assert "bad/templates/x.yaml:1" in ran.three_lines[2]


COMPONENT = """\
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
patches:
- target: {kind: Deployment}
  patch: |-
    - op: add
      path: /spec/template/spec/containers/-
      value: {name: side, image: "quay.io/side/car:1"}
- {path: image.json, target: {kind: Deployment, name: d}}
- path: merge.yaml
- target: {group: ceph.rook.io, version: v1, kind: CephCluster}
  patch: '[{"op": "replace", "path": "/spec/cephVersion/image", "value": "quay.io/ceph/ceph:v19"}]'
- patch: |-
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: d}
    spec: {template: {spec: {containers: [{name: i, image: "quay.io/in/line:1"}]}}}
configMapGenerator:
- name: made
  literals: [ROOK_CSI_CEPH_IMAGE=quay.io/lit/eral:1]
  envs: [made.env]
  files: [tool.cfg]
images:
- {name: quay.io/by/component, newTag: "2"}
"""
OVERLAY = f"""\
resources: [../base]
components: [../part]
images:
- {{name: quay.io/ceph/ceph, newTag: nobody}}
- {{name: nginx, newName: reg.example/nginx, newTag: "1.25"}}
- {{name: reg.example/nginx, digest: "sha256:{"1" * 64}"}}
- {{name: quay.io/a/b, newTag: "2", digest: "sha256:{"2" * 64}"}}
"""
BASE = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  template:
    spec:
      containers:
      - {name: c, image: "quay.io/a/b:1", env: [{name: X_IMAGE, value: "quay.io/a/b:1"}]}
      - {name: p, image: "nginx"}
      - {name: k, image: "quay.io/by/component:1"}
---
apiVersion: ceph.rook.io/v1
kind: CephCluster
metadata: {name: c}
spec: {cephVersion: {image: "quay.io/ceph/ceph:v18"}}
"""


def test_nothing_is_missed_that_kustomize_would_build(cli: Cli) -> None:
    write(
        cli,
        {
            "base/kustomization.yaml": "resources: [all.yaml]\n",
            "base/all.yaml": BASE,
            "part/kustomization.yaml": COMPONENT,
            "part/image.json": json.dumps(
                [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "quay.io/op/eration:1"}]
            ),
            "part/merge.yaml": (
                "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n"
                "spec: {template: {spec: {initContainers: [{name: m, image: 'quay.io/me/rge:1'}]}}}\n"
            ),
            "part/made.env": "# no\nTOOL_IMAGE=quay.io/env/file:1\n",
            "part/tool.cfg": "image: quay.io/in/file:1\n",
            "over/kustomization.yaml": OVERLAY,
        },
    )
    ran = subprocess.run(
        [str(kubectl()), "kustomize", str(cli.folder / "over")], check=True, capture_output=True, text=True
    )
    (cli.folder / "built.yaml").write_text(ran.stdout)
    built = cli.bundler("find-images", "built.yaml", "--json").expect().json
    read = cli.bundler("find-images", "over", "--json").expect().json
    certain = {item["image"] for item in built["images"]}
    # These are patched away; a file still names them.
    gone = {"quay.io/ceph/ceph:v18", f"quay.io/a/b:2@sha256:{'2' * 64}"}
    assert {item["image"] for item in read["images"]} == certain | gone
    assert [item["image"] for item in read["perhaps"]] == ["quay.io/in/file:1"]
    assert [item["image"] for item in built["perhaps"]] == ["quay.io/in/file:1"]
    places = {item["image"]: item["places"][0]["where"] for item in read["images"]}
    assert places["quay.io/op/eration:1"] == "over/../part/image.json:1"
    assert places["quay.io/env/file:1"] == "over/../part/made.env:2"
    assert places["quay.io/lit/eral:1"] == "over/../part/kustomization.yaml:20"


def test_what_lies_beside_a_kustomization_is_told(cli: Cli) -> None:
    write(cli, {"k/kustomization.yaml": "resources: [a.yaml]\n", "k/a.yaml": pod("a", "a/a:1")})
    assert "note" not in cli.bundler("find-images", "k").expect().err
    write(cli, {"k/other.yaml": pod("b", "a/b:1")})
    ran = cli.bundler("find-images", "k").expect()
    assert "does not take 1 file beside it: other.yaml" in ran.err
    assert "a/b:1" not in ran.out
