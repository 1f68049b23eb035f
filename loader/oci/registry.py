"""The client of one registry: the distribution spec's pull and push, nothing else.

What the methods return is checked against the digest asked for; blobs are the exception, whose bytes
are for their reader to hash. Every failure is a ``RegistryError`` that names method, host and path.
"""

from __future__ import annotations

import contextlib
import json
import urllib.parse
from collections.abc import Sequence
from typing import Optional

from loader.bundle.digest import digest_of, found_digests, is_digest, require_digest
from loader.bundle.errors import RegistryError, TrustError
from loader.bundle.ocimanifest import INDEX_TYPES, KNOWN_TYPES, MAX_MANIFEST, SCHEMA1_TYPES, bare_type, parse_manifest
from loader.oci import listing, upload
from loader.oci.answer import Answer, TooLarge
from loader.oci.blobs import BlobReader, position, range_request
from loader.oci.exchange import Exchange, Reply, finished
from loader.oci.hints import manifest_hint
from loader.oci.kinds import kind_of
from loader.oci.messages import MAX_ERROR_BODY, OpenBody, Request, Upload, registry_words
from loader.oci.parts import send_parts
from loader.oci.rate import PacedReader
from loader.oci.results import LostParts, ManifestBytes, ManifestHead, MountAnswer, Ping
from loader.oci.retry import AWAY_STATUSES, Backoff

ACCEPT = ", ".join((*sorted(KNOWN_TYPES), *sorted(SCHEMA1_TYPES)))
"""Schema 1 stands last so that an old image is named and refused, not converted or "not found"."""
_UNKNOWN = frozenset({"MANIFEST_UNKNOWN", "MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"})


class Registry:
    """One registry host; thread-safe."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.host = exchange.host
        self.other_sizes: set[str] = set()
        """Digests of blobs that it said it has, but not in their size."""
        self.held: dict[tuple[str, str], ManifestBytes] = {}
        """Manifests that were read, by (repository, digest), for who reads an image again under another name."""

    @property
    def date(self) -> str:
        """The ``Date`` of its last answer, empty before the first."""
        return self._exchange.date

    def ping(self) -> Ping:
        """Ask ``/v2/``; ``RegistryError`` when what answers is not a registry. A refused login is not an error here."""
        url = self._exchange.url("/v2/")
        reply = self._exchange.call(Request("GET", url), (), "")
        version = reply.header("Docker-Distribution-Api-Version")
        challenged = reply.status == 401 and bool(reply.header("WWW-Authenticate"))
        # The header is optional in the distribution spec; without it a JSON answer has to do.
        is_json = bare_type(reply.header("Content-Type")) is None and reply.body[:1] in {b"{", b""}
        if not (reply.status == 200 and (version or is_json)) and not challenged:
            words = registry_words(reply.body)
            spoken_to = "HTTPS" in words and url.startswith("http:")
            raise RegistryError(
                f"{self.host} does not answer like a registry",
                status=reply.status,
                why=f"GET /v2/ gave HTTP {reply.status} {words}".strip(),
                hint="it wants https: leave --plain-http away" if spoken_to else "check host and port",
            )
        kind = kind_of(reply.headers, self._exchange.challenge, reply.body)
        authorized, date = reply.status == 200, reply.header("Date")
        return Ping(url.partition(":")[0], version, reply.header("Server"), authorized, date, kind)

    def is_alive(self) -> bool:
        """Ask once whether anybody answers ``/v2/``, with whatever but a proxy's word that nobody is there."""
        try:
            reply = finished(self._exchange.once(Request("GET", self._exchange.url("/v2/")), (), ""), MAX_ERROR_BODY)
        except RegistryError:
            return False
        return reply.status not in AWAY_STATUSES

    def manifest(self, repository: str, reference: str) -> ManifestBytes:
        """Return the manifest at a tag or digest, at most 4 MiB.

        ``TrustError`` when the bytes are not the digest's, ``FormatError`` when they are no image manifest.
        """
        request = Request("GET", self._manifest_url(repository, reference), {"Accept": ACCEPT})
        what = f"{self._name(repository, reference)}"
        try:
            reply = self._exchange.call(request, _pull(repository), repository, cap=MAX_MANIFEST)
        except TooLarge as error:
            raise RegistryError(
                f"the manifest of {what} is too large",
                status=error.status,
                why=f"more than {MAX_MANIFEST} bytes, the most that registries take",
                hint="that image has too many layers or annotations: have it made anew, or leave it out",
            ) from error
        if reply.status != 200:
            raise reply.failure(f"cannot get the manifest of {what}")
        content_type = reply.header("Content-Type")
        page = "html" in content_type.lower()
        if page or not _is_json(reply.body):
            words = registry_words(reply.body)
            raise RegistryError(
                f"{self.host} sent {'a web page' if page else 'no JSON'} instead of the manifest of {what}",
                status=reply.status,
                why=words or "nothing that could be read",
                hint="a proxy or a login page may stand between",
            )
        parsed = parse_manifest(reply.body, f"manifest {what}", content_type)
        if is_digest(reference):
            require_digest(reply.body, reference, f"manifest {what}")
        digest = digest_of(reply.body)
        told = reply.header("Docker-Content-Digest")
        if is_digest(told) and told != digest:
            raise TrustError(
                f"manifest {what} does not match its digest", why=f"{self.host} says {told}, it is {digest}"
            )
        return ManifestBytes(reply.body, parsed.media_type, digest)

    def head_manifest(
        self, repository: str, reference: str, *, pushing: bool = False, due: bool = False
    ) -> Optional[ManifestHead]:
        """Return what is at a tag or digest now, or ``None`` when nothing is.

        ``pushing``: ask with the right to push, without which Quay denies a repository that is yet to be made.
        ``due``: it was put there just now, and is asked for again where it does not show at once.
        """
        request = Request("HEAD", self._manifest_url(repository, reference), {"Accept": ACCEPT})
        scopes = _push(repository) if pushing else _pull(repository)
        reply = self._exchange.call(request, scopes, repository, again=lambda it: due and it.status == 404)
        if reply.status == 404:
            return None
        digest = reply.header("Docker-Content-Digest")
        if reply.status == 200 and is_digest(digest):
            return ManifestHead(digest, bare_type(reply.header("Content-Type")) or "")
        if reply.status in {200, 405}:
            # The header is a SHOULD and HEAD is forbidden here and there: the bytes tell for certain.
            return self._head_by_get(repository, reference)
        raise reply.failure(f"cannot ask for the manifest of {self._name(repository, reference)}")

    def put_manifest(self, repository: str, reference: str, data: bytes, media_type: str) -> bool:
        """Store ``data`` under a tag or its digest and tell whether the answer confirmed the digest.

        A registry that does not know children or blobs sent just before is asked again (Nexus, OpenShift).
        """
        digest = digest_of(data)
        url = self._manifest_url(repository, reference)
        request = Request("PUT", url, {"Content-Type": media_type}, data)
        again = _is_unknown if media_type in INDEX_TYPES else _is_blob_unknown
        reply = self._exchange.call(request, _push(repository), repository, again=again)
        if reply.status not in {200, 201, 202, 204}:
            unknown = again(reply)
            by_tag = not is_digest(reference)
            hint = manifest_hint(reply.status, reply.codes, media_type, unknown=unknown, by_tag=by_tag)
            error = reply.failure(f"cannot put the manifest of {self._name(repository, reference)}", hint)
            raise LostParts(error, found_digests(reply.body)) if unknown else error
        told = reply.header("Docker-Content-Digest")
        if told and told != digest:
            raise RegistryError(
                f"{self.host} stored another manifest than {self._name(repository, reference)}",
                status=reply.status,
                why=f"sent {digest}, it says {told!a}",
                hint="a registry that converts manifests breaks every reference by digest",
            )
        return bool(told)

    def has_referrers(self, repository: str, subject: str) -> Optional[bool]:
        """Tell whether the registry lists referrers; None where that is not clear."""
        try:
            return listing.has_referrers(self._exchange, _pull(repository), repository, subject)
        except RegistryError:
            return None

    def referrers(self, repository: str, subject: str) -> Optional[tuple[str, ...]]:
        """Return the digests of what refers to the manifest ``subject``; None where there is no such API."""
        return listing.referrers(self._exchange, _pull(repository), repository, subject)

    def tags(self, repository: str) -> Optional[frozenset[str]]:
        """Return every tag of a repository; None where a short list of all of them is not to be had."""
        return listing.tags(self._exchange, _pull(repository), repository)

    def head_blob(self, repository: str, digest: str, size: Optional[int] = None, *, pushing: bool = False) -> bool:
        """Tell whether the blob is there; one of another size than ``size`` counts as missing.

        ``pushing``: as for ``head_manifest``.
        """
        request = Request("HEAD", self._blob_url(repository, digest))
        reply = self._exchange.call(request, _push(repository) if pushing else _pull(repository), repository)
        if reply.status == 404:
            return False
        if reply.status != 200:
            raise reply.failure(f"cannot ask for blob {digest} of {self.host}/{repository}")
        length = reply.header("Content-Length")
        told = reply.header("Docker-Content-Digest")
        if size is not None and length not in {"", str(size)}:
            self.other_sizes.add(digest)
            return False
        return told in {"", digest}

    def open_blob(
        self, repository: str, digest: str, size: int, start: int = 0, length: Optional[int] = None
    ) -> BlobReader:
        """Open bytes ``start`` to ``start + length`` of a blob of ``size`` bytes; ``length`` ``None``: to its end.

        The reader resumes where a connection breaks. It does not hash: the caller has the digest.
        """
        end = size if length is None else start + length
        if not 0 <= start <= end <= size:
            raise RuntimeError(f"part {start}-{end} is outside a blob of {size} bytes")
        what = f"blob {digest} of {self.host}/{repository}"
        url = self._blob_url(repository, digest)

        def open_at(offset: int, end: int, backoff: Backoff) -> Answer:
            request = range_request(url, offset, end, size)
            answer = self._exchange.open(request, _pull(repository), repository, what, backoff)
            position(answer, offset, end, size, what)
            return answer

        backoff = self._exchange.retry.start()
        limit = self._exchange.limit
        if limit is not None:
            return PacedReader(open_at, start=start, end=end, size=size, backoff=backoff, what=what, limit=limit)
        return BlobReader(open_at, start=start, end=end, size=size, backoff=backoff, what=what)

    def mount(self, repository: str, digest: str, from_repository: str) -> MountAnswer:
        """Ask to have a blob of another repository here too; not mounted means it has to be sent.

        Anything but 201 counts as not mounted: Harbor says 400 for a bad ``from`` (goharbor/harbor#22078).
        """
        query = urllib.parse.urlencode({"mount": digest, "from": from_repository})
        request = Request("POST", self._exchange.url(f"/v2/{repository}/blobs/uploads/?{query}"), _NO_BODY, b"")
        scopes = (*_push(repository), *_pull(from_repository))
        try:
            reply = self._exchange.call(request, scopes, repository)
        except RegistryError as error:
            # A token server may refuse the pair of scopes; each alone may still be fine.
            if 400 <= error.status < 500:
                return MountAnswer(mounted=False)
            raise
        told = reply.header("Docker-Content-Digest")
        return MountAnswer(reply.status == 201 and told in {"", digest}, self._opened(reply))

    def open_upload(self, repository: str) -> Optional[Reply]:
        """Open a session for an upload to come; ``None`` where that did not work at once: the upload tries again."""
        session = self._session(repository, "", None)
        try:
            reply = session.start()
        except RegistryError:
            return None
        return self._opened(reply)

    def _opened(self, reply: Reply) -> Optional[Reply]:
        """Return ``reply`` if it opened a session that can be used."""
        if reply.status != 202:
            return None
        try:
            upload.location(self._exchange, reply)
        except RegistryError:
            return None
        return reply

    def drop(self, repository: str, opened: Optional[Reply]) -> None:
        """End a session that is not needed, if there is one."""
        if opened is not None:
            upload.cancel(self._exchange, opened, repository)

    def upload_blob(
        self, repository: str, digest: str, size: int, open_body: OpenBody, opened: Optional[Reply] = None
    ) -> None:
        """Send a blob: POST, then one streamed PUT; ``open_body`` is called again for every attempt.

        The first attempt uses the session that is ``opened``. Where a proxy limits the size of a request (413) the
        blob goes in pieces instead.
        """
        session = self._session(repository, digest, opened)
        upload.send(session, self._exchange, Upload(size, open_body))

    def upload_parts(
        self,
        repository: str,
        digest: str,
        parts: Sequence[int],
        open_body: OpenBody,
        opened: Optional[Reply] = None,
    ) -> None:
        """Send a blob that comes in ``parts`` (bytes of each) with pauses between; no connection waits meanwhile."""
        session = self._session(repository, digest, opened)
        session.require_stored(send_parts(session, self._exchange, parts, open_body, what=session.what))

    def try_push(self, repository: str) -> Optional[bool]:
        """Open an upload and cancel it: ``RegistryError`` when this login may not push to ``repository``.

        Returns whether it says how far an upload is, as one in pieces needs, ``None`` where that does not show.
        """
        request = Request("POST", self._exchange.url(f"/v2/{repository}/blobs/uploads/"), _NO_BODY, b"")
        reply = self._exchange.call(request, _push(repository), repository)
        if reply.status != 202:
            raise reply.failure(f"cannot push to {self.host}/{repository}")
        return upload.ask_status(self._exchange, reply, _push(repository), repository)

    def try_manifest(self, repository: str, data: bytes, media_type: str) -> Reply:
        """Put ``data``, whose parts are nowhere, by its digest, and take it back where it was stored for all that."""
        url = self._manifest_url(repository, digest_of(data))
        request = Request("PUT", url, {"Content-Type": media_type}, data)
        reply = self._exchange.call(request, _push(repository), repository)
        if 200 <= reply.status < 300:
            with contextlib.suppress(RegistryError):
                self._exchange.call(Request("DELETE", url), upload.deleting(repository), repository)
        return reply

    def answers(self, path: str, repository: str = "") -> Optional[bytes]:
        """Return what GET ``path`` (it starts with ``/v2/``) gives, ``None`` for anything but 200."""
        scopes = _pull(repository) if repository else ()
        try:
            reply = self._exchange.call(Request("GET", self._exchange.url(path)), scopes, repository)
        except RegistryError:
            return None
        return reply.body if reply.status == 200 else None

    def hang_up(self) -> None:
        """End every request that is under way, in whatever thread, and all that follow."""
        self._exchange.hang_up()

    def close(self) -> None:
        """Close all idle connections."""
        self._exchange.close()

    def _session(self, repository: str, digest: str, opened: Optional[Reply]) -> upload.Session:
        return upload.Session(self._exchange, _push(repository), repository, digest, opened)

    def _head_by_get(self, repository: str, reference: str) -> Optional[ManifestHead]:
        try:
            found = self.manifest(repository, reference)
        except RegistryError as error:
            if error.status == 404:
                return None
            raise
        return ManifestHead(found.digest, found.media_type)

    def _manifest_url(self, repository: str, reference: str) -> str:
        return self._exchange.url(f"/v2/{repository}/manifests/{reference}")

    def _blob_url(self, repository: str, digest: str) -> str:
        return self._exchange.url(f"/v2/{repository}/blobs/{digest}")

    def _name(self, repository: str, reference: str) -> str:
        return f"{self.host}/{repository}{'@' if is_digest(reference) else ':'}{reference}"


_NO_BODY = {"Content-Length": "0"}


def _pull(repository: str) -> tuple[str, ...]:
    return (f"repository:{repository}:pull",)


def _push(repository: str) -> tuple[str, ...]:
    return (f"repository:{repository}:pull,push",)


def _is_unknown(reply: Reply) -> bool:
    if reply.status not in {400, 404}:
        return False
    text = reply.body.lower()
    return bool(_UNKNOWN & set(reply.codes)) or b"unknown" in text or b"missing" in text


def _is_blob_unknown(reply: Reply) -> bool:
    return reply.status in {400, 404} and bool(_UNKNOWN & set(reply.codes))


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True
