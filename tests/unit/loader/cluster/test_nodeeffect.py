from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from loader.cluster.merge import Sources
from loader.cluster.nodeeffect import Rules, effect_of, policy_override, stronger, unsafe_change
from loader.cluster.registriestoml import Registries
from loader.cluster.versions import NEWEST, Version, parse_openshift, refuses_mixing
from tests.unit.loader.cluster.test_merge import ARTICLE_ROWS, NEW, R, conf_of, icsp, idms, itms

A, B = ("quay.io/a", f"{R}/a"), ("quay.io/b", f"{R}/b")
EMPTY = Registries()


def effect(before: Registries, after: Registries, version: Version = NEW, **rules: Any) -> str:
    return effect_of(before, after, Rules(version, **rules))[0]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ((4, 5, 16), "reboot"),
        ((4, 6, 60), "reboot"),
        ((4, 7, 0), "drain"),
        ((4, 8, 0), "reload"),
        ((4, 12, 0), "reload"),
        ((4, 13, 0), "reload"),
        ((4, 20, 0), "reload"),
    ],
)
def test_adding_the_article_by_version(version: Version, expected: str) -> None:
    after = conf_of(icsp(*ARTICLE_ROWS), version=version)
    assert effect(EMPTY, after, version) == expected
    assert effect(after, after, version) == "none"


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ([idms(A)], [idms(A, B)], ""),
        ([idms(A)], [idms((A[0], f"{A[1]} other.io/a"))], ""),
        ([], [idms(A, never=True)], ""),  # blocked from the start is safe
        ([], [itms(A)], "not for pulls by digest"),
        ([idms(A)], [idms(A), itms(A)], "not for pulls by digest"),  # the location is known, its flag is another
        ([idms(A)], [idms(A), itms((A[0], f"{R}/tags"))], "not for pulls by digest"),
        ([idms(A, B)], [idms(A)], "quay.io/b is removed"),
        ([idms(A)], [idms(A, never=True)], "blocked of quay.io/a changes"),
        ([idms((A[0], f"{A[1]} other.io/a"))], [idms(A)], "mirror other.io/a of quay.io/a is removed"),
    ],
)
def test_what_is_safe_and_what_drains(before: list[Any], after: list[Any], word: str) -> None:
    reason = unsafe_change(conf_of(*before), conf_of(*after))
    assert (word in reason) if word else reason == ""


def test_g2_the_same_mirror_for_digests_and_tags_drains_on_every_later_change() -> None:
    before = conf_of(idms(A), itms(A))
    after = conf_of(idms((A[0], f"{A[1]} other.io/a")), itms(A))
    assert "not for pulls by digest" in unsafe_change(before, after)


def test_insecure_and_blocked_registries_drain() -> None:
    before = conf_of(idms(A))
    assert effect(before, conf_of(idms(A), sources=Sources(insecure=("other.io",)))) == "drain"
    assert effect(before, conf_of(idms(A), sources=Sources(blocked=("other.io",)))) == "drain"
    assert "insecure of quay.io/a changes" in unsafe_change(
        before, conf_of(idms(A), sources=Sources(insecure=("quay.io",)))
    )


def test_search_list_may_only_grow_at_its_end() -> None:
    conf = conf_of(idms(A))
    assert unsafe_change(conf, dataclasses.replace(conf, search=(*conf.search, "quay.io"))) == ""
    assert unsafe_change(conf, dataclasses.replace(conf, search=("quay.io", *conf.search))) == "the search list changes"
    assert unsafe_change(conf, dataclasses.replace(conf, search=())) == "the search list changes"


@pytest.mark.parametrize(("version", "expected"), [((4, 9, 59), "drain"), ((4, 10, 0), "reload")])
def test_4_9_drains_for_entries_that_were_there_before(version: Version, expected: str) -> None:
    sources = Sources(insecure=("other.io",))
    before = conf_of(icsp(A), sources=sources, version=version)
    assert effect(before, conf_of(icsp(A, B), sources=sources, version=version), version) == expected


def test_one_node_is_not_drained() -> None:
    assert effect(conf_of(idms(A)), EMPTY, single_node=True) == "reload"
    assert effect(conf_of(icsp(A), version=(4, 6, 0)), EMPTY, (4, 6, 0), single_node=True) == "reboot"


def test_the_order_of_entries_is_no_change_that_of_mirrors_is() -> None:
    conf = conf_of(idms(("quay.io/a", "x.io y.io"), B))
    assert effect(conf, dataclasses.replace(conf, entries=conf.entries[::-1])) == "none"
    assert effect(conf, conf_of(idms(("quay.io/a", "y.io x.io"), B))) == "reload"


def status(*actions: str, path: str = "/etc/containers/registries.conf") -> dict[str, Any]:
    files = [{"path": path, "actions": [{"type": action} for action in actions]}]
    return {"status": {"nodeDisruptionPolicyStatus": {"clusterPolicies": {"files": files}}}}


@pytest.mark.parametrize(
    ("found", "override"),
    [
        (None, None),
        (status("Special"), None),
        (status("None"), "none"),
        (status("Reload"), "reload"),
        (status("Restart", "DaemonReload"), "reload"),
        (status("Drain", "Reload"), "drain"),
        (status("Reboot"), "reboot"),
        (status("Reboot", path="/etc/other"), None),
    ],
)
def test_an_administrators_policy_beats_the_rules(found: Any, override: str | None) -> None:
    assert policy_override(found, None) == override
    if override is not None:
        assert effect(conf_of(idms(A)), EMPTY, override=override) == override


def test_the_drain_override_config_map_means_reload() -> None:
    assert policy_override(None, {"metadata": {"name": "image-registry-override-drain"}}) == "reload"


def test_effects_are_ordered() -> None:
    assert stronger("reload", "none", "drain") == "drain"
    assert stronger("reboot", "drain") == "reboot"


@pytest.mark.parametrize(
    ("text", "version"),
    [("4.14.8", (4, 14, 8)), ("4.16.0-rc.1", (4, 16, 0)), ("4.20", (4, 20, 0)), (None, NEWEST), ("", NEWEST)],
)
def test_versions(text: str | None, version: Version) -> None:
    assert parse_openshift(text) == version


@pytest.mark.parametrize(
    ("text", "refused"),
    [("4.12.9", False), ("4.13.25", True), ("4.13.26", False), ("4.14.1", True), ("4.14.2", False), ("4.15.0", False)],
)
def test_versions_that_refuse_a_mixture(text: str, refused: bool) -> None:
    assert refuses_mixing(parse_openshift(text)) is refused
