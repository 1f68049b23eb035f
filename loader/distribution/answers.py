"""What the registry answers: a request's line and headers in; status, headers and body out.

Source: distribution spec 1.1, "Pull", "Content Discovery" and "Error Codes".
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from loader.bundle.digest import digest_of
from loader.bundle.names import is_repository
from loader.bundle.ocimanifest import OCI_INDEX
from loader.distribution.catalogue import Catalogue, Repository
from loader.distribution.ranges import Unsatisfiable, wanted_range

JSON = "application/json"
BLOB = "application/octet-stream"
READING = frozenset({"GET", "HEAD"})
_ROUTE = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|referrers)/(?P<reference>[^/]*)")
_TAGS = re.compile(r"/v2/(?P<name>.+)/tags/list")
# Any algorithm's digest is well formed; of those that the image spec registers the length is known.
_DIGEST = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[A-Za-z0-9=_-]{1,256}")
_LENGTHS = {"sha256": re.compile(r"[0-9a-f]{64}"), "sha384": re.compile(r"[0-9a-f]{96}")}
_LENGTHS["sha512"] = re.compile(r"[0-9a-f]{128}")
_MAX_FIELDS = 32
# A digest never changes its meaning; caches in front of us may keep what they have of it.
_FOR_EVER = "max-age=31536000"


@dataclass(frozen=True)
class Request:
    """One request: ``target`` as it stands in its line, header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class BlobPart:
    """Bytes ``start`` to ``stop`` of a blob."""

    digest: str
    start: int
    stop: int


@dataclass(frozen=True)
class Answer:
    """``length`` is the Content-Length; the body is ``body``, or ``blob`` straight out of the bundle."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    blob: Optional[BlobPart] = None

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return len(self.body) if self.blob is None else self.blob.stop - self.blob.start


class Refused(Exception):
    """A request that gets an error of the spec."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.answer = refusal(status, code, message, headers)


def refusal(status: int, code: str, message: str, headers: Optional[Mapping[str, str]] = None) -> Answer:
    """An error in the form of the spec."""
    body = json.dumps({"errors": [{"code": code, "message": message, "detail": None}]}).encode()
    named = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
    return Answer(status, {"Content-Type": JSON, **named}, body)


def answer(request: Request, catalogue: Catalogue) -> Answer:
    """Answer one request; errors of reading the bundle are the caller's."""
    try:
        return _route(request, catalogue)
    except Refused as refused:
        return refused.answer


def _route(request: Request, catalogue: Catalogue) -> Answer:
    if request.method not in READING:
        raise Refused(405, "UNSUPPORTED", "this registry is read-only", Allow="GET, HEAD")
    path, _, query = request.target.partition("?")
    path = urllib.parse.unquote(path)
    asked = _query(query)
    if path in {"/v2", "/v2/"}:
        return Answer(200, {"Content-Type": JSON}, b"{}")
    if path == "/v2/_catalog":
        return _page(path, "repositories", {}, catalogue.names, asked)
    listed = _TAGS.fullmatch(path)
    if listed is not None:
        repository = _repository(catalogue, listed["name"], asked, request)
        return _page(path, "tags", {"name": listed["name"]}, sorted(repository.tags), asked)
    match = _ROUTE.fullmatch(path)
    if match is None:
        raise Refused(404, "NAME_UNKNOWN", f"nothing is served at {path[:200]}")
    kind, reference = match["kind"], match["reference"]
    if kind != "manifests" or ":" in reference:
        _require_digest(reference)
    if kind == "referrers":
        return _referrers(catalogue, match["name"], reference, asked)
    repository = _repository(catalogue, match["name"], asked, request)
    if kind == "manifests":
        return _manifest(request, catalogue, repository, reference)
    return _blob(request, catalogue, repository, reference)


def _query(text: str) -> dict[str, str]:
    try:
        return dict(urllib.parse.parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError as error:
        raise Refused(400, "UNSUPPORTED", f"the query has more than {_MAX_FIELDS} fields") from error


def _repository(catalogue: Catalogue, name: str, asked: Mapping[str, str], request: Request) -> Repository:
    if not is_repository(name):
        raise Refused(400, "NAME_INVALID", f"{name[:200]} is not a repository name")
    namespace = asked.get("ns") or None
    if namespace == request.headers.get("host"):
        namespace = None
    found = catalogue.find(name, namespace)
    if found is None:
        where = f" of {namespace[:200]}" if namespace else ""
        raise Refused(404, "NAME_UNKNOWN", f"this bundle has no repository {name}{where}")
    return found


def _require_digest(text: str) -> None:
    algorithm, _, encoded = text.partition(":")
    known = _LENGTHS.get(algorithm)
    if _DIGEST.fullmatch(text) is None or (known is not None and known.fullmatch(encoded) is None):
        raise Refused(400, "DIGEST_INVALID", f"{text[:200]} is not a digest")


def _manifest(request: Request, catalogue: Catalogue, repository: Repository, reference: str) -> Answer:
    digest = reference if ":" in reference else repository.tags.get(reference, "")
    found = repository.manifests.get(digest)
    if found is None:
        raise Refused(404, "MANIFEST_UNKNOWN", f"there is no manifest {reference[:200]}")
    headers = {"Content-Type": found.media_type, **_named(digest, for_ever=digest == reference)}
    if _is_known(request, digest):
        return Answer(304, headers)
    return Answer(200, headers, catalogue.read(found))


def _blob(request: Request, catalogue: Catalogue, repository: Repository, digest: str) -> Answer:
    if digest not in repository.blobs:
        raise Refused(404, "BLOB_UNKNOWN", f"there is no blob {digest} in this repository")
    size = catalogue.holder(digest).blob_size(digest)
    headers = {"Content-Type": BLOB, "Accept-Ranges": "bytes", **_named(digest, for_ever=True)}
    if _is_known(request, digest):
        return Answer(304, headers)
    # RFC 9110 section 14.2: a range means something to GET alone, and If-Range makes it the whole for another blob.
    ranged = request.headers.get("range", "") if request.method == "GET" else ""
    if request.headers.get("if-range", f'"{digest}"') != f'"{digest}"':
        ranged = ""
    try:
        part = wanted_range(ranged, size)
    except Unsatisfiable:
        raise Refused(416, "RANGE_INVALID", f"the blob has {size} bytes", Content_Range=f"bytes */{size}") from None
    if part is None:
        return Answer(200, headers, blob=BlobPart(digest, 0, size))
    headers["Content-Range"] = f"bytes {part[0]}-{part[1] - 1}/{size}"
    return Answer(206, headers, blob=BlobPart(digest, *part))


def _named(digest: str, *, for_ever: bool) -> dict[str, str]:
    named = {"Docker-Content-Digest": digest, "ETag": f'"{digest}"'}
    return {**named, "Cache-Control": _FOR_EVER} if for_ever else named


def _is_known(request: Request, digest: str) -> bool:
    """Whether the client says that it has these very bytes."""
    tags = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    return f'"{digest}"' in tags or "*" in tags


def _referrers(catalogue: Catalogue, name: str, digest: str, asked: Mapping[str, str]) -> Answer:
    """The list of an unknown repository is empty too: a 404 would mean that there is no such API here."""
    repository = catalogue.find(name)
    found = repository.referrers(digest) if repository is not None else []
    kind = asked.get("artifactType")
    headers = {"Content-Type": OCI_INDEX}
    if kind:
        found = [descriptor for descriptor in found if descriptor.get("artifactType") == kind]
        headers["OCI-Filters-Applied"] = "artifactType"
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}
    body = json.dumps(index).encode()
    return Answer(200, {**headers, "ETag": f'"{digest_of(body)}"'}, body)


def _page(path: str, key: str, first: Mapping[str, Any], names: Sequence[str], asked: Mapping[str, str]) -> Answer:
    """One page of a list: ``n`` names behind ``last``, and a Link to the next where there is more."""
    last, count = asked.get("last", ""), asked.get("n")
    after = [name for name in names if name > last]
    headers = {"Content-Type": JSON}
    if count is not None:
        if re.fullmatch(r"[0-9]{1,9}", count) is None:
            raise Refused(400, "PAGINATION_NUMBER_INVALID", f"n is {count[:40]!a}, not a number")
        page = after[: int(count)]
        if page and len(page) < len(after):
            rest = {**asked, "n": count, "last": page[-1]}
            headers["Link"] = f'<{path}?{urllib.parse.urlencode(rest)}>; rel="next"'
        after = page
    return Answer(200, headers, json.dumps({**first, key: after}).encode())
