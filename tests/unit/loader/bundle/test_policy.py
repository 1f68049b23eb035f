from __future__ import annotations

from typing import Any

import pytest

from loader.bundle.errors import ConfigError, TrustError
from loader.bundle.keys import ALGORITHMS, P256, P384
from loader.bundle.policy import Rule, TrustPolicy, parse_policy
from tests.support.bundles import make_policy, make_signer

A, B, C = (make_signer(name).public for name in "abc")
NOW = "2026-01-01T00:00:00Z"


def parse(**document: Any) -> TrustPolicy:
    return parse_policy(document, [A, B, C])


def test_a_policy_that_says_little_takes_one_signature_of_any_key() -> None:
    policy = parse(threshold=1)
    assert policy == TrustPolicy((A, B, C), Rule(1, ()), ALGORITHMS, frozenset(), False, {})
    for key in (A, B, C):
        assert policy.judge("demo", [key]) == Rule(1)


def test_every_field_is_read() -> None:
    policy = parse(
        threshold=2,
        required=["a"],
        algorithms=[P256],
        revoked=[C.fingerprint],
        enforceNotAfter=True,
        names={"demo": {"threshold": 1}, "other": {"required": []}},
    )
    assert policy.usable == (A, B)
    assert policy.enforce_not_after
    assert policy.names == {"demo": Rule(1, ("a",)), "other": Rule(2, ())}


def test_a_name_has_its_own_rule() -> None:
    policy = parse(threshold=2, names={"demo": {"threshold": 1}})
    assert policy.judge("demo", [A]) == Rule(1)
    with pytest.raises(TrustError, match="not enough signers"):
        policy.judge("other", [A])
    assert policy.judge("other", [A, B]) == Rule(2)


def test_the_same_key_twice_is_one_signer() -> None:
    with pytest.raises(TrustError) as caught:
        parse(threshold=2).judge("demo", [A, A])
    assert caught.value.why == "1 of 2 needed: a, a"


def test_a_required_signer_must_be_among_them() -> None:
    policy = parse(threshold=2, required=["b"])
    assert policy.judge("demo", [A, B]) == Rule(2, ("b",))
    with pytest.raises(TrustError) as caught:
        policy.judge("demo", [A, C])
    assert caught.value.why == "required: b; signed: a, c"


def test_a_threshold_above_the_number_of_keys() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_policy({"threshold": 2}, [A])
    assert caught.value.faults == (("threshold", "2, but 1 key can count"),)


def test_more_required_than_the_threshold_says_need_as_many() -> None:
    assert parse(threshold=1, required=["a", "b"]).judge("demo", [A, B]).needed == 2
    assert parse(threshold=3, required=["a", "b"]).rule.needed == 3


def test_required_by_one_of_two_names_for_a_key() -> None:
    twin = make_signer("a").public.__class__("twin", A.spki, A.algorithm, A.order)
    policy = TrustPolicy((A, twin), Rule(1, ("twin",)))
    assert policy.judge("demo", [A]) == Rule(1, ("twin",))


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown key": ({"treshold": 2}, "treshold"),
    "a threshold that is text": ({"threshold": "2"}, "threshold"),
    "a threshold that is true": ({"threshold": True}, "threshold"),
    "required that is text": ({"required": "a"}, "required"),
    "required with a number": ({"required": [1]}, "required"),
    "an unknown algorithm": ({"algorithms": ["md5"]}, "algorithms"),
    "no algorithm": ({"algorithms": []}, "algorithms"),
    "a revocation of a name": ({"revoked": ["a"]}, "revoked"),
    "enforceNotAfter that is text": ({"enforceNotAfter": "no"}, "enforceNotAfter"),
    "names that are a list": ({"names": ["demo"]}, "names"),
    "a name that is none": ({"names": {"../x": {}}}, "names.'../x'"),
    "a name without a table": ({"names": {"demo": 2}}, "names.'demo'"),
    "an unknown key of a name": ({"names": {"demo": {"revoked": []}}}, "names.demo.revoked"),
    "a wrong threshold of a name": ({"names": {"demo": {"threshold": 1.5}}}, "names.demo.threshold"),
    "an empty table of a name": ({"names": {"demo": {}}}, "names.demo"),
    "a required key named twice": ({"required": ["a", "a"]}, "required"),
    "a threshold of zero": ({"threshold": 0}, "threshold"),
    "a threshold nobody can meet": ({"threshold": 4}, "threshold"),
    "a threshold nobody can meet once keys are revoked": ({"threshold": 3, "revoked": [A.fingerprint]}, "threshold"),
    "a required key that is not there": ({"required": ["d"]}, "required"),
    "a required key that is revoked": ({"required": ["a"], "revoked": [A.fingerprint]}, "required"),
    "a threshold of a name nobody can meet": ({"names": {"demo": {"threshold": 4}}}, "names.demo.threshold"),
}


def test_an_empty_policy_is_refused() -> None:
    with pytest.raises(ConfigError, match="empty"):
        parse()


@pytest.mark.parametrize("name", FAULTS)
def test_a_policy_is_refused_for(name: str) -> None:
    document, place = FAULTS[name]
    with pytest.raises(ConfigError) as caught:
        parse(**document)
    assert [where for where, _ in caught.value.faults] == [place]


def test_an_unknown_key_that_is_like_another_is_told_so() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(treshold=2, revokde=[], zzz=1)
    assert [problem for _, problem in caught.value.faults] == [
        "unknown key; did you mean revoked?",
        "unknown key; did you mean threshold?",
        "unknown key",
    ]


def test_all_faults_are_listed_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(treshold=2, required="a", revoked=["a"])
    assert [where for where, _ in caught.value.faults] == ["treshold", "required", "revoked"]


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"revoked": [A.fingerprint, B.fingerprint, C.fingerprint]}, "revokes or disallows"),
        ({"algorithms": [P384]}, "revokes or disallows"),
    ],
)
def test_no_key_left_is_no_trust(document: dict[str, Any], why: str) -> None:
    with pytest.raises(TrustError) as caught:
        parse(**document)
    assert why in caught.value.why


def test_no_key_is_no_trust() -> None:
    with pytest.raises(TrustError, match="no trusted key is left"):
        TrustPolicy(())


def test_not_after_warns_or_refuses() -> None:
    lax, strict = make_policy(), make_policy(enforce_not_after=True)
    for policy in (lax, strict):
        assert policy.judge_not_after(None, NOW) is None
        assert policy.judge_not_after(NOW, NOW) is None
        assert policy.judge_not_after("2026-01-01T00:00:01Z", NOW) is None
    warning = lax.judge_not_after("2025-12-31T23:59:59Z", NOW)
    assert warning is not None
    assert "2025-12-31T23:59:59Z" in warning
    assert NOW in warning
    with pytest.raises(TrustError, match="expired"):
        strict.judge_not_after("2025-12-31T23:59:59Z", NOW)
