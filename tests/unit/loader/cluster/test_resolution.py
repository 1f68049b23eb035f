from __future__ import annotations

import pytest

from loader.bundle.errors import ConfigError
from loader.cluster.merge import Sources
from loader.cluster.registriestoml import Endpoint, Registries, Registry
from loader.cluster.resolution import Resolver
from loader.oci.model import ImageRef
from tests.unit.loader.cluster.test_merge import ARTICLE_ROWS, OLD, R, conf_of, icsp, idms, itms

DIGEST = "@sha256:" + "a" * 64


def pulled(conf: Registries, text: str) -> list[str]:
    return list(Resolver(conf).endpoints(ImageRef.parse(text)))


@pytest.mark.parametrize("conf", [conf_of(idms(*ARTICLE_ROWS)), conf_of(icsp(*ARTICLE_ROWS), version=OLD)])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("docker.io/ceph/ceph:v16", ["docker.io/ceph/ceph"]),
        (f"docker.io/ceph/ceph{DIGEST}", [f"{R}/ceph/ceph", "docker.io/ceph/ceph"]),
        (f"docker.io/ceph/ceph:v16{DIGEST}", [f"{R}/ceph/ceph", "docker.io/ceph/ceph"]),
        (f"docker.io/cephalopod/x{DIGEST}", ["docker.io/cephalopod/x"]),
        ("busybox", ["docker.io/library/busybox"]),
        (f"quay.io.evil.com/cephcsi/x{DIGEST}", ["quay.io.evil.com/cephcsi/x"]),
    ],
)
def test_g9_resolution_of_the_article(conf: Registries, text: str, expected: list[str]) -> None:
    assert pulled(conf, text) == expected


def test_g8_resolution_of_a_wildcard() -> None:
    conf = Registries((Registry("", prefix="*.redhat.io", mirrors=(Endpoint(f"{R}/redhat"),)),))
    assert pulled(conf, "registry.redhat.io/x/y:1") == [f"{R}/redhat/x/y", "registry.redhat.io/x/y"]
    assert pulled(conf, "redhat.io/x:1") == ["redhat.io/x"]


def test_a_source_never_contacted_leaves_its_mirrors() -> None:
    conf = conf_of(idms(("quay.io/a", f"{R}/a"), never=True))
    assert pulled(conf, f"quay.io/a/x{DIGEST}") == [f"{R}/a/x"]
    assert pulled(conf, "quay.io/a/x:1") == []


def test_a_mirror_inside_a_blocked_scope_is_blocked_as_well() -> None:
    conf = conf_of(idms(("quay.io/a", f"{R}/a other.io/a")), sources=Sources(blocked=(R,)))
    assert pulled(conf, f"quay.io/a/x{DIGEST}") == ["other.io/a/x", "quay.io/a/x"]


def test_trap_a_bare_host_breaks_the_names_of_the_same_host_with_a_port() -> None:
    conf = conf_of(idms(("example.com", f"{R}/ex")))
    with pytest.raises(ConfigError, match=r"turns example\.com:5000/x into"):
        pulled(conf, f"example.com:5000/x{DIGEST}")


def test_trap_a_mirror_without_dot_and_port_breaks_the_names_it_is_for() -> None:
    conf = conf_of(idms(("docker.io/ceph", "site/ceph")))
    with pytest.raises(ConfigError, match=r"turns docker\.io/ceph/ceph into"):
        pulled(conf, f"docker.io/ceph/ceph{DIGEST}")
    conf = conf_of(idms(("docker.io/ceph", "localhost/ceph")))
    assert pulled(conf, f"docker.io/ceph/ceph{DIGEST}") == ["localhost/ceph/ceph", "docker.io/ceph/ceph"]


def test_trap_a_longer_tag_source_takes_the_digest_mirrors_away() -> None:
    conf = conf_of(idms(("quay.io", f"{R}/quay")), itms(("quay.io/cephcsi", f"{R}/quay/cephcsi")))
    assert pulled(conf, f"quay.io/cephcsi/x{DIGEST}") == ["quay.io/cephcsi/x"]
    assert pulled(conf, f"quay.io/other/x{DIGEST}") == [f"{R}/quay/other/x", "quay.io/other/x"]


def test_an_older_repository_scope_shadows_a_namespace() -> None:
    conf = conf_of(icsp(("quay.io/a/x", "old.io/x")), idms(("quay.io/a", f"{R}/a")))
    assert pulled(conf, f"quay.io/a/x{DIGEST}") == ["old.io/x", "quay.io/a/x"]


def test_insecure_is_asked_for_a_place() -> None:
    resolver = Resolver(conf_of(sources=Sources(insecure=(R,))))
    assert resolver.is_insecure(f"{R}/ceph/ceph")
    assert not resolver.is_insecure("reg.airgap.local/ceph/ceph")
