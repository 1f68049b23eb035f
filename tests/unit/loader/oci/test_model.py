from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.bundle import names
from loader.bundle.errors import ConfigError
from loader.oci import model
from loader.oci.model import ImageRef, RegistryTarget

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag", "digest"),
    [
        ("busybox", "docker.io", "library/busybox", "latest", None),
        ("busybox:1.36", "docker.io", "library/busybox", "1.36", None),
        ("docker.io/busybox", "docker.io", "library/busybox", "latest", None),
        ("index.docker.io/busybox", "docker.io", "library/busybox", "latest", None),
        ("registry-1.docker.io/ceph/ceph", "registry-1.docker.io", "ceph/ceph", "latest", None),
        ("rook/ceph:v1.5.0", "docker.io", "rook/ceph", "v1.5.0", None),
        ("docker.io/ceph/ceph:v15.2.4", "docker.io", "ceph/ceph", "v15.2.4", None),
        ("quay.io/cephcsi/cephcsi", "quay.io", "cephcsi/cephcsi", "latest", None),
        ("localhost/a", "localhost", "a", "latest", None),
        ("HOST/a", "HOST", "a", "latest", None),
        ("reg:5000/a/b/c:x", "reg:5000", "a/b/c", "x", None),
        ("[::1]:5000/a", "[::1]:5000", "a", "latest", None),
        (f"quay.io/a/b@{DIGEST}", "quay.io", "a/b", None, DIGEST),
        (f"quay.io/a/b:v1@{DIGEST}", "quay.io", "a/b", "v1", DIGEST),
        ("k8s.gcr.io/sig-storage/csi-attacher:v3.0.0", "k8s.gcr.io", "sig-storage/csi-attacher", "v3.0.0", None),
        ("r.io/a__b/c---d/e.f_g:" + "t" * 128, "r.io", "a__b/c---d/e.f_g", "t" * 128, None),
    ],
)
def test_references_are_normalised(text: str, host: str, repository: str, tag: str | None, digest: str | None) -> None:
    ref = ImageRef.parse(text)
    assert (ref.host, ref.repository, ref.tag, ref.digest) == (host, repository, tag, digest)
    assert ImageRef.parse(str(ref)) == ref
    assert ref.reference == (digest or tag)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "UPPER",
        "quay.io/Upper",
        "quay.io/",
        "quay.io//a",
        "quay.io/a/",
        "quay.io/../a",
        "quay.io/a:",
        "quay.io/a:-x",
        "quay.io/a:" + "t" * 129,
        "quay.io/a:tag\n",
        "quay.io/a\n",
        "quay.io/a@",
        "quay.io/a@sha256:abc",
        "quay.io/a@sha512:" + "a" * 128,
        "quay.io/a_-b",
        "quay.io/a___b",
        "quay.io/-a",
        "quay.io:0/a",
        "quay.io:65536/a",
        "quay.io:x/a",
        "-quay.io/a",
        "quay..io/a",
        "https://quay.io/a",
        "user@quay.io/a",
        "quay.io/" + "a" * 256,
        "a" * 2000,
    ],
)
def test_what_is_no_reference_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ImageRef.parse(text)
    assert caught.value.why
    assert str(caught.value).isprintable()


@given(st.text(max_size=60))
def test_any_text_parses_to_something_stable_or_is_refused(text: str) -> None:
    try:
        ref = ImageRef.parse(text)
    except ConfigError:
        return
    assert ImageRef.parse(str(ref)) == ref


def test_long_hostile_names_take_no_time() -> None:
    started = time.process_time()
    for text in ("a" * 100_000, "a-" * 500 + "!", "a_" * 120 + "!", "quay.io/" + "a." * 120):
        assert not names.is_repository(text)
        assert not names.is_host("-".join("a" * 60000) + "-")
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("text", "host", "prefix", "full"),
    [
        ("reg.local:5000", "reg.local:5000", "", "ceph/ceph"),
        ("reg.local/mirror/site-7", "reg.local", "mirror/site-7", "mirror/site-7/ceph/ceph"),
    ],
)
def test_target_has_a_host_and_a_prefix(text: str, host: str, prefix: str, full: str) -> None:
    target = RegistryTarget.parse(text)
    assert (target.host, target.prefix, str(target)) == (host, prefix, text)
    assert target.repository("ceph/ceph") == full


@pytest.mark.parametrize(
    "text", ["", "https://reg.local", "reg.local/", "reg.local/Up", "reg local", "reg.local:5000/a:v1"]
)
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        RegistryTarget.parse(text)


def test_a_scheme_is_told_as_it_was_typed() -> None:
    with pytest.raises(ConfigError) as caught:
        RegistryTarget.parse("https://reg.site:5000")
    said = caught.value
    assert (said.message, said.hint) == ("'https://reg.site:5000' is not a registry", "write 'reg.site:5000'")


def test_a_prefix_cannot_make_a_name_too_long() -> None:
    with pytest.raises(ConfigError):
        RegistryTarget.parse("reg/" + "p" * 200).repository("a" * 60)


def test_names_in_the_airgap() -> None:
    ref = ImageRef.parse("reg.example.com:5000/ceph/ceph")
    assert model.repository_in_airgap(ref, keep_host=False) == "ceph/ceph"
    assert model.repository_in_airgap(ref, keep_host=True) == "reg.example.com-5000/ceph/ceph"
    assert model.repository_in_airgap(ImageRef.parse("rook/ceph"), keep_host=True) == "docker.io/rook/ceph"
    assert names.is_repository(model.repository_in_airgap(ImageRef.parse("[::1]:5000/a"), keep_host=True))
    assert model.tag_in_airgap("v1", DIGEST) == "v1"
    assert model.tag_in_airgap(None, DIGEST) == "airgap-aaaaaaaaaaaa"
    assert model.api_host("docker.io") == "registry-1.docker.io"
    assert model.api_host("quay.io") == "quay.io"


@pytest.mark.parametrize("text", ["bob:secret@registry.example:5000", "https://bob:secret@registry.example"])
def test_a_password_in_a_target_is_not_shown(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RegistryTarget.parse(text)
    assert "secret" not in f"{caught.value} {caught.value.hint}"
    assert "registry.example" in caught.value.message
