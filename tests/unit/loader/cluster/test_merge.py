"""The golden vectors of OpenShift's merge, each produced once by its own code."""

from __future__ import annotations

import random
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader import mirrors
from loader.bundle.manifest import Mirror
from loader.cluster.merge import Merged, Sources, items_in, merge, sources_of
from loader.cluster.registriestoml import Registries, Registry, parse, render
from loader.cluster.versions import Version
from tests.unit.loader.test_mirrors import ARTICLE, G1

R = "reg.airgap.local:5000"
ALLOW, NEVER = "AllowContactingSource", "NeverContactSource"
OLD, NEW = (4, 12, 40), (4, 16, 0)
LISTS = {
    "ImageDigestMirrorSet": "imageDigestMirrors",
    "ImageContentSourcePolicy": "repositoryDigestMirrors",
    "ImageTagMirrorSet": "imageTagMirrors",
}


def policy(kind: str, *rows: tuple[str, str], name: str = "x", never: bool = False) -> dict[str, Any]:
    """One mirror object; a row is a source and its mirrors parted by blanks."""
    entries: list[dict[str, Any]] = [{"source": source, "mirrors": places.split()} for source, places in rows]
    for entry in entries if never else ():
        entry["mirrorSourcePolicy"] = NEVER
    return {"kind": kind, "metadata": {"name": name}, "spec": {LISTS[kind]: entries}}


def idms(*rows: tuple[str, str], **options: Any) -> dict[str, Any]:
    return policy("ImageDigestMirrorSet", *rows, **options)


def itms(*rows: tuple[str, str], **options: Any) -> dict[str, Any]:
    return policy("ImageTagMirrorSet", *rows, **options)


def icsp(*rows: tuple[str, str], **options: Any) -> dict[str, Any]:
    return policy("ImageContentSourcePolicy", *rows, **options)


def merged(*objects: dict[str, Any], sources: Sources | None = None, version: Version = NEW) -> Merged:
    kinds = [str(item["kind"]) for item in objects]
    return merge(items_in(objects), sources or Sources(), version=version, kinds=kinds)


def conf_of(*objects: dict[str, Any], sources: Sources | None = None, version: Version = NEW) -> Registries:
    result = merged(*objects, sources=sources, version=version)
    assert result.conf is not None, result.faults
    return result.conf


def shown(entry: Registry) -> str:
    """The notation of the vectors: entry[flags] <- mirror:d, mirror:t:i."""
    flags = "".join(f"[{name}]" for name in ("blocked", "insecure") if getattr(entry, name))
    marks = {"digest-only": ":d", "tag-only": ":t", "": ""}
    places = [m.location + marks[m.pull] + (":i" if m.insecure else "") for m in entry.mirrors]
    return f"{entry.scope}{flags}" + (f" <- {', '.join(places)}" if places else "")


def lines(conf: Registries) -> list[str]:
    return [shown(entry) for entry in conf.entries]


ARTICLE_ROWS = tuple((row.source, row.mirror) for row in ARTICLE)


@pytest.mark.parametrize("make", [icsp, idms])
def test_g1_the_article_from_4_13_on(make: Any) -> None:
    assert render(conf_of(make(*ARTICLE_ROWS))) == G1


def test_g1_old_the_article_until_4_12() -> None:
    expected = re.sub(r'\n    pull-from-mirror = "digest-only"', "", G1)
    expected = re.sub(r'(  location = "(?:docker|k8s|quay).*")', r"\1\n  mirror-by-digest-only = true", expected)
    assert render(conf_of(icsp(*ARTICLE_ROWS), version=OLD)) == expected


def test_g2_both_kinds_never_contact_the_source() -> None:
    row = ("quay.io/cephcsi", f"{R}/cephcsi")
    assert lines(conf_of(idms(row, never=True), itms(row, never=True))) == [
        f"quay.io/cephcsi[blocked] <- {R}/cephcsi:d, {R}/cephcsi:t"
    ]


def test_g4_all_three_kinds_are_merged() -> None:
    conf = conf_of(
        icsp(("registry-a", "d1 d2 icsp1"), ("registry-c", "i1 i2")),
        itms(("registry-a", "t1 t2")),
        idms(("registry-a", "d1 d2")),
    )
    assert lines(conf) == ["registry-a <- d1:d, d2:d, icsp1:d, t1:t, t2:t", "registry-c <- i1:d, i2:d"]


def test_g6_an_insecure_registry_flags_its_mirrors() -> None:
    conf = conf_of(idms(("quay.io/cephcsi", f"{R}/cephcsi")), sources=Sources(insecure=(R,)))
    assert lines(conf) == [f"quay.io/cephcsi <- {R}/cephcsi:d:i", f"{R}[insecure]"]


def test_g8_a_wildcard_is_a_prefix_without_location() -> None:
    (entry,) = conf_of(idms(("*.redhat.io", f"{R}/redhat"))).entries
    assert (entry.prefix, entry.location) == ("*.redhat.io", "")
    assert shown(entry) == f"*.redhat.io <- {R}/redhat:d"


def test_g8_a_mirrorless_entry_inside_a_wildcard_stops_everything() -> None:
    result = merged(idms(("*.redhat.io", f"{R}/redhat")), sources=Sources(blocked=("foo.redhat.io",)))
    assert result.conf is None
    assert "mirrorsAdjustedForNestedScope for a wildcard scope '*.redhat.io'" in result.faults[0]


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        (["a b", "b a"], ["a", "b"]),  # a cycle breaks at its first name
        (["b c", "a b"], ["a", "b", "c"]),
        (["a", "b"], ["a", "b"]),
        (["x s y"], ["x", "s", "y"]),  # the source among its mirrors keeps its place
        (["x s"], ["x"]),  # and is left out where it ends last
        (["c", "b", "a c"], ["a", "b", "c"]),
        (["a a b"], ["a", "b"]),
    ],
)
def test_mirrors_of_one_source_are_sorted_topologically(lists: list[str], expected: list[str]) -> None:
    (entry,) = conf_of(*(icsp(("s", places), name=f"p{n}") for n, places in enumerate(lists)), version=OLD).entries
    assert [mirror.location for mirror in entry.mirrors] == expected


@given(st.lists(st.lists(st.sampled_from("abcdes"), min_size=1, max_size=5), min_size=1, max_size=5), st.randoms())
def test_the_order_of_objects_does_not_count(lists: list[list[str]], rng: random.Random) -> None:
    objects = [icsp(("s", " ".join(places)), name=f"p{n}") for n, places in enumerate(lists)]
    first = conf_of(*objects, version=OLD)
    rng.shuffle(lists)
    again = [icsp(("s", " ".join(places)), name=f"p{n}") for n, places in enumerate(lists)]
    assert conf_of(*again, version=OLD) == first
    every = {place for places in lists if set(places) != {"s"} for place in places} - {"s"}
    assert {m.location for entry in first.entries for m in entry.mirrors} - {"s"} == every


def test_items_without_a_real_mirror_are_dropped_with_their_policy() -> None:
    assert lines(conf_of(idms(("quay.io/a", "")), idms(("quay.io/b", ""), never=True))) == []


def test_entries_without_mirrors_inherit_them_with_the_path_appended() -> None:
    conf = conf_of(idms(("quay.io", f"{R}/quay")), sources=Sources(blocked=("quay.io/bad", "evil.io")))
    assert lines(conf) == [
        f"quay.io <- {R}/quay:d",
        f"quay.io/bad[blocked] <- {R}/quay/bad:d",
        "evil.io[blocked]",
    ]


def test_the_outer_source_is_inherited_before_the_inner_one() -> None:
    rows = (("quay.io", f"{R}/all"), ("quay.io/a", f"{R}/a"))
    conf = conf_of(idms(*rows), sources=Sources(insecure=("quay.io/a/b",)))
    assert lines(conf)[-1] == f"quay.io/a/b[insecure] <- {R}/all/a/b:d"


def test_flags_reach_what_lies_inside() -> None:
    conf = conf_of(
        idms(("q.example.com/a", f"{R}/a")),
        sources=Sources(insecure=("*.example.com",), blocked=("q.example.com", "other.io:443")),
    )
    assert lines(conf) == [
        f"q.example.com/a[blocked][insecure] <- {R}/a:d",
        "q.example.com[blocked][insecure]",
        "other.io:443[blocked]",
        "*.example.com[insecure]",
    ]


def test_a_port_is_another_registry() -> None:
    conf = conf_of(idms(("quay.io:443/a", f"{R}/a")), sources=Sources(blocked=("quay.io",)))
    assert lines(conf) == [f"quay.io:443/a <- {R}/a:d", "quay.io[blocked]"]


@pytest.mark.parametrize(
    ("objects", "version", "fault"),
    [
        ([idms(("quay.io/A", f"{R}/a"))], NEW, "invalid format for source 'quay.io/A' (ImageDigestMirrorSet/x)"),
        ([icsp(("quay.io/a", "https://r/a"))], NEW, "invalid format for mirror 'https://r/a'"),
        ([icsp(("", f"{R}/a"))], OLD, "invalid format for source ''"),
        ([icsp(("a" * 100000, f"{R}/a"))], OLD, "invalid format for source"),
        ([icsp(("quay.io/\u00e4", f"{R}/a"))], OLD, "invalid format for source"),
        ([idms(("*.redhat.io", f"{R}/a"))], (4, 15, 9), "wildcard entries are not supported with mirror configuration"),
        (
            [idms(("q.io/a", f"{R}/a"), never=True), icsp(("q.io/a", f"{R}/b"), name="y")],
            NEW,
            "'q.io/a' (ImageDigestMirrorSet/x: NeverContactSource, ImageContentSourcePolicy/y: AllowContactingSource)",
        ),
        ([idms(("q.io/a", f"q.io/a {R}/a"), never=True)], NEW, "cannot set mirrorSourcePolicy: NeverContactSource"),
        ([icsp(("q.io/a", "r/a")), idms()], (4, 14, 1), "both imagecontentsourcepolicy and imagedigestmirrorset exist"),
        ([icsp(), itms(("q.io/a", "r/a"))], (4, 13, 0), "both imagecontentsourcepolicy and imagetagmirrorset exist"),
    ],
)
def test_what_the_operator_refuses(objects: list[dict[str, Any]], version: Version, fault: str) -> None:
    result = merged(*objects, version=version)
    assert result.conf is None
    assert any(fault in found for found in result.faults), result.faults


@pytest.mark.parametrize("version", [(4, 12, 0), (4, 13, 26), (4, 14, 2), (4, 15, 0)])
def test_other_versions_take_old_and_new_objects_together(version: Version) -> None:
    assert merged(icsp(("q.io/a", "r/a")), idms(("q.io/b", "r/b")), version=version).faults == ()


def test_an_unset_policy_is_no_conflict() -> None:
    one = idms(("q.io/a", f"{R}/a"))
    one["spec"]["imageDigestMirrors"][0]["mirrorSourcePolicy"] = ALLOW
    assert merged(one, itms(("q.io/a", f"{R}/a"))).faults == ()


@pytest.mark.parametrize("scope", ["*", "", "a*b.io", "*.a/b", "*.a:1"])
def test_registry_sources_are_checked_too(scope: str) -> None:
    assert "invalid entry for insecure registries" in merged(sources=Sources(insecure=(scope,))).faults[0]


def test_the_renderer_of_the_bundle_and_the_merge_agree() -> None:
    table = (Mirror("quay.io/a", f"{R}/a", NEVER), Mirror("docker.io/b", f"{R}/b", ALLOW))
    objects = [mirrors.idms(table, name="x"), mirrors.itms(table, name="x")]
    assert render(conf_of(*objects)) == mirrors.machine_config(table, tags=True)
    assert render(conf_of(mirrors.icsp(ARTICLE, name="x"), version=OLD)) == mirrors.machine_config_by_digest(ARTICLE)


def test_text_and_values_are_the_same_file() -> None:
    conf = conf_of(
        idms(("quay.io/a", f"{R}/a"), ("*.b.io", f"{R}/b")), sources=Sources(insecure=(R,), blocked=("c.io",))
    )
    assert parse(render(conf).encode(), "x") == conf


def test_registry_sources_come_from_the_image_config() -> None:
    spec = {"registrySources": {"insecureRegistries": [R], "blockedRegistries": ["docker.io"]}}
    assert sources_of({"spec": spec}) == Sources(insecure=(R,), blocked=("docker.io",))
    assert sources_of(None) == Sources()


def test_ten_thousand_sources_are_merged_in_linear_time() -> None:
    rows = [(f"quay.io/org{n}", f"{R}/org{n}") for n in range(10000)]
    blocked = tuple(f"quay.io/org{n}/bad" for n in range(10000))
    chain = " ".join(f"m{n}" for n in range(10000))
    objects = [idms(*rows), icsp(("docker.io/x", chain))]
    start = time.process_time()
    conf = conf_of(*objects, sources=Sources(blocked=blocked, insecure=("*.x.io",)))
    assert time.process_time() - start < 5
    assert len(conf.entries) == 20002
