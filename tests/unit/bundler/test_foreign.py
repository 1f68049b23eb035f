"""Configs of other tools: what is taken over, what is told, what is refused."""

from __future__ import annotations

import pytest

from bundler.foreign import Foreign, read_foreign
from loader.bundle.errors import ConfigError

OC_MIRROR = """\
apiVersion: mirror.openshift.io/v2alpha1
kind: ImageSetConfiguration
archiveSize: 4
mirror:
  platform: {channels: [{name: stable-4.16}]}
  operators: []
  additionalImages:
  - name: registry.redhat.io/ubi8/ubi:latest
  - {name: quay.io/ceph/ceph:v19, platforms: [linux/amd64, linux/arm64]}
  - {name: docker.io/library/alpine:3.18, targetRepo: x/y}
  - name: busybox
  - name: oci:///folder
  - name: docker.io/library/busybox:latest
  blockedImages:
  - name: alp.ne
"""
HAULER = """\
apiVersion: content.hauler.cattle.io/v1
kind: Images
metadata:
  annotations: {hauler.dev/platform: linux/amd64, hauler.dev/registry: reg.example:5000, hauler.dev/products: x}
spec:
  images:
  - name: a/b:1
  - {name: quay.io/c/d:1, platform: linux/arm64, key: c.pub, rewrite: x}
---
apiVersion: content.hauler.cattle.io/v1
kind: Charts
spec: {charts: [{name: x}]}
"""


def read(text: str) -> Foreign:
    return read_foreign(text.encode(), "FILE")


def test_oc_mirror() -> None:
    found = read(OC_MIRROR)
    assert [(str(image.name), image.line, image.platforms) for image in found.images] == [
        ("registry.redhat.io/ubi8/ubi:latest", 8, ()),
        ("quay.io/ceph/ceph:v19", 9, ("linux/amd64", "linux/arm64")),
        ("docker.io/library/busybox:latest", 11, ()),
    ]
    assert [(line, text.partition(":")[0]) for line, text in found.unsupported] == [
        (3, "archiveSize"),
        (5, "mirror.platform"),
        (10, "mirror.additionalImages[2].targetRepo"),
        (12, "oci"),
    ]
    assert found.notes == [
        (10, "docker.io/library/alpine:3.18 is blocked by 'alp.ne'"),
        (11, "busybox is docker.io/library/busybox:latest"),
        (13, "docker.io/library/busybox:latest is listed twice"),
    ]


def test_platforms_as_oc_mirror_has_them() -> None:
    platforms = "[{os: linux, architecture: amd64}, {os: linux, architecture: arm64}]"
    assert read(OC_MIRROR.replace("[linux/amd64, linux/arm64]", platforms)).images == read(OC_MIRROR).images


def test_a_platform_of_a_whole_hauler_file_that_is_none_is_said() -> None:
    found = read(HAULER.replace("platform: linux/amd64", "platform: amd64", 1))
    assert found.images[0].platforms == ()
    assert any("'amd64' is no os/architecture" in text for _, text in found.unsupported)


def test_hauler() -> None:
    found = read(HAULER)
    assert [(str(image.name), image.platforms, image.key) for image in found.images] == [
        ("reg.example:5000/a/b:1", ("linux/amd64",), None),
        ("quay.io/c/d:1", ("linux/arm64",), "c.pub"),
    ]
    assert [(line, text.partition(":")[0]) for line, text in found.unsupported] == [
        (4, "annotation hauler.dev/products"),
        (8, "spec.images[1].rewrite"),
        (10, "kind Charts"),
    ]


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("", "line 1", "the file is empty"),
        ("a: [", "line 2", "not YAML"),
        ("a: 1", "line 1", "a file without apiVersion is neither"),
        (OC_MIRROR.replace("v2alpha1", "v1alpha2"), "line 1", "is not mirror.openshift.io/v2alpha1"),
        (OC_MIRROR.replace("ImageSetConfiguration", "DeleteImageSetConfiguration"), "line 1", "is neither"),
        (OC_MIRROR.replace("alp.ne", "'alp['"), "mirror.blockedImages[0] (line 15)", "no regular expression"),
        (OC_MIRROR.replace("alp.ne", "'(a+)+$'"), "mirror.blockedImages[0] (line 15)", "repeated groups"),
        (OC_MIRROR.replace("busybox\n", "Busy/BOX\n", 1), "mirror.additionalImages[3].name (line 11)", "Busy/BOX"),
        (
            OC_MIRROR.replace("- name: busybox", "- nmae: x"),
            "mirror.additionalImages[3] (line 11)",
            "no name, only nmae",
        ),
        (
            OC_MIRROR.replace("[linux/amd64, linux/arm64]", "[{os: linux}, {os: a b, architecture: c}]"),
            "mirror.additionalImages[1].platforms[1] (line 9)",
            "'a b/c' is not os/architecture",
        ),
        (HAULER.replace("linux/arm64", "arm"), "spec.images[1].platform (line 8)", "os/architecture"),
        ("apiVersion: content.hauler.cattle.io/v1\nkind: Images\n", "line 1", "spec is missing"),
        (
            f"apiVersion: mirror.openshift.io/v2alpha1\nkind: ImageSetConfiguration\nmirror: {'[' * 50}",
            "line 3",
            "deep",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, place: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert any(at == place and problem in said for at, said in caught.value.faults), caught.value.faults


def test_a_file_of_which_nothing_remains_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"no image that can be imported: line 5: mirror.operators"):
        read(
            "apiVersion: mirror.openshift.io/v2alpha1\nkind: ImageSetConfiguration\nmirror:\n"
            "  additionalImages: []\n  operators: [{catalog: x}]\n"
        )
