from __future__ import annotations

from typing import Optional

import pytest

from loader.oci.challenge import Challenge
from loader.oci.kinds import kind_of

API = {"docker-distribution-api-version": "registry/2.0"}
JSON = {**API, "content-type": "application/json"}


def bearer(realm: str, service: str = "") -> Challenge:
    return Challenge("bearer", {"realm": realm, **({"service": service} if service else {})})


@pytest.mark.parametrize(
    ("headers", "challenge", "body", "kind"),
    [
        ({**API, "content-type": "application/json; charset=utf-8"}, None, b"{}", "distribution 2.x"),
        (JSON, None, b"{}", "distribution 3.x"),
        (API, None, b"", "go-containerregistry"),
        (JSON, None, b"", "zot"),
        ({**JSON, "server": "Nexus/3.70.1-02 (OSS)"}, None, b"{}", "Nexus/3.70.1-02"),
        ({**JSON, "x-jfrog-version": "Artifactory/7.90 79000900"}, None, b"{}", "Artifactory"),
        ({**JSON, "x-registry-supports-signatures": "1"}, None, b"{}", "OpenShift"),
        (JSON, bearer("https://r.example/openshift/token"), b"{}", "OpenShift"),
        (JSON, bearer("https://r.example/service/token", "harbor-registry"), b"{}", "Harbor"),
        (JSON, bearer("https://r.example/v2/auth", "r.example"), b"true", "Quay"),
        (JSON, bearer("https://git.example/jwt/auth", "container_registry"), b"{}", "GitLab"),
        (JSON, bearer("https://tokens.example/token"), b"{}", "distribution 3.x"),
        ({"content-type": "application/json"}, None, b"{}", ""),
        (JSON, None, b'{"hello": 1}', ""),
    ],
)
def test_kinds(headers: dict[str, str], challenge: Optional[Challenge], body: bytes, kind: str) -> None:
    assert kind_of(headers, challenge, body) == kind
