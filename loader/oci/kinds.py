"""Which product a registry is, by what it says on ``/v2/``; pure.

Nobody has to say it, so this is for people to read, and decides alone where a trial's answer can be read in two ways.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from typing import Optional

from loader.oci.challenge import Challenge

OPENSHIFT, ZOT = "OpenShift", "zot"
_API = "docker-distribution-api-version"


def kind_of(headers: Mapping[str, str], challenge: Optional[Challenge], body: bytes) -> str:
    """Return a name such as ``Harbor`` or ``Nexus/3.70.1``, an empty string where nothing tells.

    ``headers`` have lower-case names; ``challenge`` is what asked for a login.
    """
    server = headers.get("server", "")
    if server.startswith(("Nexus/", "Artifactory/")):
        return server.split()[0]
    if headers.get("x-jfrog-version") or headers.get("x-artifactory-id"):
        return "Artifactory"
    if headers.get("x-registry-supports-signatures"):
        return OPENSHIFT
    asked = _by_challenge(challenge) if challenge is not None else ""
    if asked:
        return asked
    return _by_form(headers, body) if headers.get(_API) else ""


def _by_challenge(challenge: Challenge) -> str:
    path = urllib.parse.urlsplit(challenge.parameters.get("realm", "")).path
    if challenge.parameters.get("service") == "harbor-registry":
        return "Harbor"
    return {"/service/token": "Harbor", "/openshift/token": OPENSHIFT, "/v2/auth": "Quay", "/jwt/auth": "GitLab"}.get(
        path, ""
    )


def _by_form(headers: Mapping[str, str], body: bytes) -> str:
    """Tell apart those that are bare: they differ in how they say that there is nothing to say."""
    content_type = headers.get("content-type", "")
    if not content_type and not body:
        return "go-containerregistry"
    if content_type.startswith("application/json") and not body:
        return ZOT
    if content_type.startswith("application/json") and body in {b"{}", b"{}\n"}:
        # Version 2 named a charset, which JSON does not have.
        return "distribution 2.x" if "charset" in content_type else "distribution 3.x"
    return ""
