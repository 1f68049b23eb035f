from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from loader.bundle.errors import ClusterError, ConfigError
from loader.cluster.imageconfig import authority_in, authority_wishes, login_in, login_patch, login_wish
from loader.cluster.nodeside import NodeSide
from loader.cluster.plan import decide

R = "reg.airgap.local:5000"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
AUTH = base64.b64encode(b"user:password").decode()
OPENSHIFT = NodeSide(image_config={"spec": {}})


def test_certificates_are_kept_and_other_text_is_left_out() -> None:
    data = f"subject=CN = ca\n{CERTIFICATE}and more\r\n{CERTIFICATE}".encode()
    assert authority_in(data, "ca.pem") == CERTIFICATE * 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no certificate",
        CERTIFICATE.replace("MAA=", "M!!="),
        CERTIFICATE.replace("MAA=", ""),
        CERTIFICATE.replace("MAA=", "AAAA"),
        CERTIFICATE.partition("-----END")[0],
        CERTIFICATE + "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
        CERTIFICATE + "\u00e4",
        CERTIFICATE * 20000,
    ],
)
def test_other_files_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--cluster-ca ca\.pem"):
        authority_in(text.encode(), "ca.pem")


def test_the_longest_name_of_a_login_wins() -> None:
    data = json.dumps({"auths": {R: {"auth": "bm86"}, f"{R}/ceph": {"auth": AUTH, "email": "x"}, "other": {}}}).encode()
    assert login_in(data, "a", f"{R}/ceph") == (f"{R}/ceph", {"auth": AUTH})
    assert login_in(data, "a", f"{R}/rook") == (R, {"auth": "bm86"})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"auths": []}',
        b'{"auths": {"other:5000": {"auth": "dTpw"}}}',
        b'{"auths": {"reg.airgap.local:5000": {}}}',
        b'{"auths": {"reg.airgap.local:5000": {"auth": 1}}}',
        b'{"auths": {"reg.airgap.local:5000": {"auth": "Zm9v"}}}',
        b'{"auths": {"reg.airgap.local:5000": {"auth": "secret!"}}}',
        b"[" * 100000,
    ],
)
def test_a_file_without_the_login_is_refused_and_never_quoted(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"--cluster-auth auth\.json has no login") as caught:
        login_in(data, "auth.json", R)
    assert "secret" not in str(caught.value)


def secret(**entries: Any) -> dict[str, Any]:
    packed = base64.b64encode(json.dumps({"auths": entries, "HttpHeaders": {"a": "b"}}).encode()).decode()
    metadata = {"name": "pull-secret", "namespace": "openshift-config", "resourceVersion": "5"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {".dockerconfigjson": packed}}


def content(item: Any) -> Any:
    return json.loads(base64.b64decode(item["data"][".dockerconfigjson"]))


def test_one_entry_is_added_and_all_others_stay() -> None:
    wish = login_wish(OPENSHIFT, R, {"auth": AUTH})
    current = secret(**{"quay.io": {"auth": "eDp5", "email": "e"}})
    change, findings = decide(wish, current)
    assert (change.action, change.patch_type, findings) == ("patch", "merge", ())
    assert content(change.after) == {
        "auths": {"quay.io": {"auth": "eDp5", "email": "e"}, R: {"auth": AUTH}},
        "HttpHeaders": {"a": "b"},
    }
    assert AUTH not in change.diff
    assert decide(wish, dict(change.after or {}))[0].action == "unchanged"


def test_a_lost_race_is_decided_from_what_is_there_then() -> None:
    wish = login_wish(OPENSHIFT, R, {"auth": AUTH})
    first = content(login_patch(wish, secret()))
    later = content(login_patch(wish, secret(**{"new.example.com": {"auth": "eDp5"}})))
    assert set(first["auths"]) == {R}
    assert set(later["auths"]) == {R, "new.example.com"}


@pytest.mark.parametrize("current", [None, {"data": {}}, {"data": {".dockerconfigjson": "!"}}])
def test_a_secret_that_is_none_is_refused(current: Any) -> None:
    with pytest.raises(ClusterError, match="holds no logins to add one to"):
        login_patch(login_wish(OPENSHIFT, R, {"auth": AUTH}), current)


def test_an_authority_gets_a_map_of_its_own_only_where_none_is_named() -> None:
    first = authority_wishes(OPENSHIFT, R, CERTIFICATE)
    assert [(wish.key.kind, wish.key.name) for wish in first] == [
        ("ConfigMap", "airgap-registry-cas"),
        ("Image", "cluster"),
    ]
    assert first[0].body == {"data": {"reg.airgap.local..5000": CERTIFICATE}}
    (second,) = authority_wishes(NodeSide(image_config={}, ca_name="corporate"), R, CERTIFICATE)
    assert (second.key.namespace, second.key.name) == ("openshift-config", "corporate")


def test_without_an_image_config_both_are_refused() -> None:
    with pytest.raises(ClusterError, match="--cluster-ca is for OpenShift"):
        authority_wishes(NodeSide(), R, CERTIFICATE)
    with pytest.raises(ClusterError, match="--cluster-auth is for OpenShift"):
        login_wish(NodeSide(), R, {"auth": AUTH})


def test_an_image_config_that_may_not_be_read_is_not_said_to_be_missing() -> None:
    side = NodeSide(unread=("reading Image/cluster failed: images.config.openshift.io is forbidden",))
    with pytest.raises(ClusterError, match="this login may not read it") as caught:
        authority_wishes(side, R, CERTIFICATE)
    assert "is forbidden" in caught.value.why
    with pytest.raises(ClusterError, match="--cluster-auth needs"):
        login_wish(side, R, {"auth": AUTH})
