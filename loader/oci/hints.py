"""What to do next when a registry refuses: the quirks of the field, one line each; pure.

Sources: the registries' issue trackers and documentation, named where a rule comes from one of them.
"""

from __future__ import annotations

from collections.abc import Collection

from loader.bundle.ocimanifest import DOCKER_LIST, DOCKER_MANIFEST, INDEX_TYPES
from loader.oci.faults import BY_PROXY
from loader.oci.retry import RETRYABLE_STATUSES

_DOCKER_TYPES = frozenset({DOCKER_LIST, DOCKER_MANIFEST})
_WRITES = frozenset({"POST", "PUT", "PATCH"})
_REFUSED = frozenset({400, 404, 415, 500})
# openshift/enhancements#1014
NO_LISTS = (
    "it may take no manifest lists and nothing by digest (OpenShift's own registry before 4.13): build with "
    "--platform linux/amd64 --rewrite-index, which takes that platform's own manifest, and names it everywhere"
)
# Harbor and distribution up to 2.8 take no sparse index; distribution 3 and Quay where it is configured.
NO_SPARSE = "it wants every child of an index: build with all platforms, or with --rewrite-index for those you need"
# project-zot/zot#724
NO_DOCKER_TYPES = 'it may take OCI types only: in zot set "http": {"compat": ["docker2s2"]}'

LOGIN = "airgap-loader login, skopeo login or --authfile"
DAMAGED = (
    "its storage is damaged: have that blob's data removed there (distribution: below docker/registry/v2/blobs), then "
    "run this again, for a delta with the bundle that carries the blob as a further SOURCE"
)
GHOST = "the registry does not have what it said it has"


def request_hint(method: str, status: int, codes: Collection[str]) -> str:
    """Return what to do about ``status`` of any request, an empty string where nothing better is known."""
    writes = method in _WRITES
    denied = status == 403 or ("DENIED" in codes and status not in RETRYABLE_STATUSES)
    known = (
        (status == 401, f"log in to this registry, or check the login it was given ({LOGIN})"),
        (status == 407, BY_PROXY),
        (
            denied and writes,
            "the account needs the right to do this; Harbor and Quay also want the project to exist",
        ),
        (denied, f"the account needs the right to read this, or another login ({LOGIN})"),
        (
            "NAME_INVALID" in codes,
            # OpenShift's registry: exactly <project>/<name>; Harbor: no name without a project.
            "this registry limits paths: give it a project, --registry HOST/PROJECT (OpenShift: PROJECT/NAME alone)",
        ),
        (
            any(code.startswith("BLOB_UPLOAD_") for code in codes),
            "the registry forgot an upload it had begun: several instances of distribution need one http.secret",
        ),
        (status == 404 and writes, "the project or repository may have to be created first"),
        (status == 405 and writes, "the registry may be read-only just now: for garbage collection, or as a mirror"),
        (status == 429, "the registry limits requests: try later, or with a login"),
        (
            status == 413,
            "a proxy before the registry limits the size of uploads: raise client_max_body_size or its like",
        ),
        (status in {500, 503, 507} and writes, "look at the registry's own log and disk"),
    )
    return next((hint for applies, hint in known if applies), "")


def manifest_hint(status: int, codes: Collection[str], media_type: str, *, unknown: bool, by_tag: bool) -> str:
    """Return what to do about a manifest of ``media_type`` that was refused; ``unknown``: parts of it are missing.

    ``by_tag``: it was refused under its tag, having been taken by its digest.
    """
    is_index = media_type in INDEX_TYPES
    refused = status in _REFUSED
    known = (
        (unknown and is_index, NO_SPARSE),
        (unknown, GHOST),
        (
            status == 413 or "MANIFEST_SIZE_INVALID" in codes,
            "registries take manifests of 4 MiB at most, some less: this image has too many layers or annotations",
        ),
        (
            media_type in _DOCKER_TYPES and (status == 415 or (refused and "MANIFEST_INVALID" in codes)),
            NO_DOCKER_TYPES,
        ),
        (refused and not by_tag and (is_index or "UNSUPPORTED" in codes), NO_LISTS),
    )
    return next((hint for applies, hint in known if applies), "")
