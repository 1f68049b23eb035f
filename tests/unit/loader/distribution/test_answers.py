from __future__ import annotations

import json
from typing import Any

import pytest

from loader.bundle import ocimanifest as oci
from loader.distribution.answers import Answer, BlobPart, Request, answer
from loader.distribution.catalogue import Catalogue
from tests.support.bundles import verify
from tests.support.served import BIG, served

ONE, TWO = served().one, served().two
BLOB = next(digest for digest, data in ONE.blobs.items() if data == BIG)
NOWHERE = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue(verify(served().recipe.archive()))


def ask(catalogue: Catalogue, target: str, method: str = "GET", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return answer(Request(method, target, named), catalogue)


def body(found: Answer) -> Any:
    assert found.headers["Content-Type"] in {"application/json", oci.OCI_INDEX}
    return json.loads(found.body)


@pytest.mark.parametrize("target", ["/v2", "/v2/", "/v2/?ns=docker.io"])
def test_the_api_is_there(catalogue: Catalogue, target: str) -> None:
    assert ask(catalogue, target).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/", 404, "NAME_UNKNOWN"),
        ("/v1/", 404, "NAME_UNKNOWN"),
        ("/v2/ceph/ceph", 404, "NAME_UNKNOWN"),
        ("/v2/no/such/tags/list", 404, "NAME_UNKNOWN"),
        ("/v2/no/such/manifests/v1", 404, "NAME_UNKNOWN"),
        (f"/v2/no/such/blobs/{BLOB}", 404, "NAME_UNKNOWN"),
        ("/v2/bare/tags/list?ns=quay.io", 404, "NAME_UNKNOWN"),
        ("/v2/Ceph/ceph/tags/list", 400, "NAME_INVALID"),
        ("/v2/../ceph/manifests/v1", 400, "NAME_INVALID"),
        ("/v2/%2e%2e/ceph/manifests/v1", 400, "NAME_INVALID"),
        ("/v2/ceph/ceph/manifests/none", 404, "MANIFEST_UNKNOWN"),
        ("/v2/ceph/ceph/manifests/", 404, "MANIFEST_UNKNOWN"),
        (f"/v2/ceph/ceph/manifests/{NOWHERE}", 404, "MANIFEST_UNKNOWN"),
        (f"/v2/ceph/ceph/manifests/{BLOB}", 404, "MANIFEST_UNKNOWN"),
        ("/v2/ceph/ceph/manifests/sha256:abc", 400, "DIGEST_INVALID"),
        (f"/v2/ceph/ceph/blobs/{NOWHERE}", 404, "BLOB_UNKNOWN"),
        (f"/v2/team/bare/blobs/{BLOB}", 404, "BLOB_UNKNOWN"),
        (f"/v2/ceph/ceph/blobs/sha512:{'0' * 128}", 404, "BLOB_UNKNOWN"),
        ("/v2/ceph/ceph/blobs/sha256:abc", 400, "DIGEST_INVALID"),
        (f"/v2/ceph/ceph/blobs/{NOWHERE.upper()}", 400, "DIGEST_INVALID"),
        ("/v2/ceph/ceph/blobs/v1", 400, "DIGEST_INVALID"),
        ("/v2/ceph/ceph/referrers/v1", 400, "DIGEST_INVALID"),
        ("/v2/ceph/ceph/tags/list?n=x", 400, "PAGINATION_NUMBER_INVALID"),
        ("/v2/_catalog?n=-1", 400, "PAGINATION_NUMBER_INVALID"),
        (f"/v2/_catalog?{'a=b&' * 40}", 400, "UNSUPPORTED"),
    ],
)
def test_what_is_not_there_or_not_asked_rightly(
    catalogue: Catalogue, method: str, target: str, status: int, code: str
) -> None:
    found = ask(catalogue, target, method)
    assert (found.status, body(found)["errors"][0]["code"]) == (status, code)


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("target", ["/v2/ceph/ceph/manifests/v1", "/v2/ceph/ceph/blobs/uploads/", "/v2/"])
def test_nothing_is_written(catalogue: Catalogue, method: str, target: str) -> None:
    found = ask(catalogue, target, method)
    assert (found.status, body(found)["errors"][0]["code"]) == (405, "UNSUPPORTED")
    assert found.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("reference", ["v1", ONE.digest])
def test_a_manifest_by_tag_and_by_digest(catalogue: Catalogue, reference: str) -> None:
    found = ask(catalogue, f"/v2/ceph/ceph/manifests/{reference}")
    assert (found.status, found.body) == (200, ONE.data)
    assert found.headers["Content-Type"] == oci.DOCKER_LIST
    assert found.headers["Docker-Content-Digest"] == ONE.digest
    assert ("Cache-Control" in found.headers) == (reference != "v1")


def test_a_child_by_digest(catalogue: Catalogue) -> None:
    digest, media_type, data = ONE.manifests[0]
    found = ask(catalogue, f"/v2/ceph/ceph/manifests/{digest}")
    assert (found.status, found.headers["Content-Type"], found.body) == (200, media_type, data)


def test_a_tag_means_what_it_means_in_the_registry_that_is_named(catalogue: Catalogue) -> None:
    assert ask(catalogue, "/v2/ceph/ceph/manifests/v1?ns=docker.io").status == 200
    assert ask(catalogue, "/v2/ceph/ceph/manifests/v1?ns=quay.io").status == 404
    # A digest means the same everywhere.
    assert ask(catalogue, f"/v2/ceph/ceph/manifests/{TWO.digest}?ns=ghcr.io").status == 200


def test_our_own_name_is_no_other_registry(catalogue: Catalogue) -> None:
    target = "/v2/ceph/ceph/manifests/v1?ns=127.0.0.1:5000"
    assert ask(catalogue, target, host="127.0.0.1:5000").status == 200
    assert ask(catalogue, target, host="localhost:5000").status == 404


def test_a_blob_is_not_read_to_be_announced(catalogue: Catalogue) -> None:
    for method in ("GET", "HEAD"):
        found = ask(catalogue, f"/v2/ceph/ceph/blobs/{BLOB}", method)
        assert (found.status, found.blob, found.length) == (200, BlobPart(BLOB, 0, len(BIG)), len(BIG))
        assert found.headers["Docker-Content-Digest"] == BLOB
        assert found.headers["Accept-Ranges"] == "bytes"


def test_a_range_of_a_blob(catalogue: Catalogue) -> None:
    target = f"/v2/ceph/ceph/blobs/{BLOB}"
    found = ask(catalogue, target, range="bytes=10-19")
    assert (found.status, found.blob, found.length) == (206, BlobPart(BLOB, 10, 20), 10)
    assert found.headers["Content-Range"] == f"bytes 10-19/{len(BIG)}"
    assert ask(catalogue, target, "HEAD", range="bytes=10-19").status == 200
    assert ask(catalogue, target, range="bytes=10-19", if_range=f'"{BLOB}"').status == 206
    assert ask(catalogue, target, range="bytes=10-19", if_range='"other"').status == 200
    beyond = ask(catalogue, target, range=f"bytes={len(BIG)}-")
    assert (beyond.status, body(beyond)["errors"][0]["code"]) == (416, "RANGE_INVALID")
    assert beyond.headers["Content-Range"] == f"bytes */{len(BIG)}"


@pytest.mark.parametrize("target", [f"/v2/ceph/ceph/blobs/{BLOB}", f"/v2/ceph/ceph/manifests/{ONE.digest}"])
def test_what_the_client_has_is_not_sent_again(catalogue: Catalogue, target: str) -> None:
    etag = ask(catalogue, target).headers["ETag"]
    found = ask(catalogue, target, if_none_match=f'"x", W/{etag}')
    assert (found.status, found.length) == (304, 0)
    assert ask(catalogue, target, if_none_match='"x"').status == 200


def test_tags_come_in_pages(catalogue: Catalogue) -> None:
    target = "/v2/ceph/ceph/tags/list"
    seen = []
    while target:
        found = ask(catalogue, target + ("" if "?" in target else "?n=1&ns="))
        assert body(found)["name"] == "ceph/ceph"
        seen += body(found)["tags"]
        link = found.headers.get("Link", "")
        assert not link or link.endswith('>; rel="next"')
        target = link.partition("<")[2].partition(">")[0]
    assert seen == ["sha256-1.sig", "v1", "v2"]
    assert body(ask(catalogue, "/v2/ceph/ceph/tags/list"))["tags"] == seen
    assert body(ask(catalogue, "/v2/ceph/ceph/tags/list?last=v1"))["tags"] == ["v2"]
    none = ask(catalogue, "/v2/ceph/ceph/tags/list?n=0")
    assert (body(none)["tags"], "Link" in none.headers) == ([], False)


def test_the_list_of_repositories(catalogue: Catalogue) -> None:
    assert body(ask(catalogue, "/v2/_catalog")) == {"repositories": ["ceph/ceph", "team/bare"]}
    found = ask(catalogue, "/v2/_catalog?n=1")
    assert found.headers["Link"] == '</v2/_catalog?n=1&last=ceph%2Fceph>; rel="next"'


@pytest.mark.parametrize(
    ("query", "count", "filtered"),
    [
        ("", 1, None),
        ("?artifactType=application%2Fvnd.example.sbom", 1, "artifactType"),
        ("?artifactType=x", 0, "artifactType"),
    ],
)
def test_referrers(catalogue: Catalogue, query: str, count: int, filtered: str | None) -> None:
    found = ask(catalogue, f"/v2/ceph/ceph/referrers/{ONE.digest}{query}")
    assert (found.status, found.headers["Content-Type"]) == (200, oci.OCI_INDEX)
    assert (body(found)["schemaVersion"], body(found)["mediaType"]) == (2, oci.OCI_INDEX)
    assert [one["digest"] for one in body(found)["manifests"]] == [served().referrer.digest] * count
    assert found.headers.get("OCI-Filters-Applied") == filtered


@pytest.mark.parametrize("target", [f"/v2/ceph/ceph/referrers/{NOWHERE}", f"/v2/no/such/referrers/{NOWHERE}"])
def test_no_referrers_is_an_empty_list(catalogue: Catalogue, target: str) -> None:
    found = ask(catalogue, target)
    assert (found.status, body(found)["manifests"]) == (200, [])
