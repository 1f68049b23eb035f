"""Sending one blob: an upload session, then its bytes in one PUT, or in PATCHes where a proxy limits size.

What broke goes on where the registry says it stopped: its session is asked for the offset, the rest is sent by PATCH
and closed. A session that is gone, or whose result is refused, starts again from nothing, once.

Rules: distribution spec, "Pushing blobs". Quirks: Location may be relative, absolute, carry a query,
or name another host (then no login goes along) or the wrong scheme (a TLS proxy in front).
"""

from __future__ import annotations

import contextlib
import re
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Optional

from loader.bundle.errors import RegistryError
from loader.oci.exchange import Exchange, Reply, finished
from loader.oci.faults import TIMED_OUT, Unreachable
from loader.oci.messages import MAX_ERROR_BODY, Request, Upload, origin, shown_url
from loader.oci.rest import Rest

PIECES = (8 * 2**20, 2**19)
"""Sizes of PATCH bodies to try after a 413: below the common 10 MB, then below nginx's default of 1 MiB."""
OCTETS = {"Content-Type": "application/octet-stream"}
STORED = frozenset({200, 201, 202, 204})
_LOST = frozenset({400, 404, 410, 416})
_NOT_OURS_TO_MEND = frozenset({401, 403, 408, 413, 429})
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,19})")
_PROGRESS = 2**20
"""Bytes that have to arrive between two breaks for the second to count as a first one."""


def send(session: Session, exchange: Exchange, body: Upload) -> None:
    """Upload ``body``; ``RegistryError`` when the registry does not confirm it."""
    limit = exchange.largest_body or body.size
    pieces = [piece for piece in PIECES if piece < body.size and piece <= limit]
    sizes = [body.size, *pieces] if body.size <= limit else pieces
    for size in sizes:
        reply = _sent(exchange, session, body, size)
        if reply is not None and reply.status != 413:
            break
    if reply is None:
        raise RuntimeError("the smallest pieces raise their own error")
    if reply.status in STORED and size < body.size:
        # Whoever stands between refuses the next large body as well.
        exchange.largest_body = size
    if reply.status not in STORED:
        session.end()
    session.require_stored(reply)


def _sent(exchange: Exchange, session: Session, body: Upload, size: int) -> Optional[Reply]:
    """Send ``body`` in requests of ``size`` bytes; ``None`` where the line breaks at each of them and never gets on.

    A proxy with a limit may hang up instead of answering 413, or its answer is lost in what is still on its way.
    """
    try:
        if size == body.size:
            return exchange.retrying(lambda: session.put_whole(body), moved=session.moved)
        return exchange.retrying(lambda: session.send_pieces(body, size), moved=session.moved)
    except RegistryError as error:
        small = size <= PIECES[-1] or body.size <= PIECES[-1]
        if error.status or small or session.reached or not session.is_open or TIMED_OUT in error.why:
            raise
    return None


def deleting(repository: str) -> tuple[str, ...]:
    """The scope that distribution wants for whatever DELETE asks."""
    return (f"repository:{repository}:pull,push,delete",)


def cancel(exchange: Exchange, reply: Reply, repository: str) -> None:
    """End the upload session that ``reply`` opened; a registry that cannot is left alone."""
    with contextlib.suppress(RegistryError):
        _cancel_at(exchange, location(exchange, reply), repository)


def _cancel_at(exchange: Exchange, url: str, repository: str) -> None:
    # Registries drop idle sessions themselves; the upload that follows shows whether this one works.
    with contextlib.suppress(RegistryError):
        if exchange.is_ours(url):
            finished(exchange.once(Request("DELETE", url), deleting(repository), repository), MAX_ERROR_BODY)


def ask_status(exchange: Exchange, reply: Reply, scopes: Sequence[str], repository: str) -> Optional[bool]:
    """Ask the session that ``reply`` opened how far it is, and end it.

    Returns ``True`` if it says so, which is what an upload in pieces goes by, and ``None`` if it says nothing of use.
    ``Unreachable`` where the session is on another host, and nobody is there.
    """
    known, elsewhere = None, ""
    with contextlib.suppress(RegistryError):
        url = location(exchange, reply)
        if exchange.is_ours(url):
            said = finished(exchange.once(Request("GET", url), scopes, repository), MAX_ERROR_BODY)
            known = True if 200 <= said.status < 300 and said.header("Range") else None
        else:
            elsewhere = url
    if elsewhere:
        _require_somebody(exchange, elsewhere)
    cancel(exchange, reply, repository)
    return known


def _require_somebody(exchange: Exchange, url: str) -> None:
    """Raise ``Unreachable`` unless somebody answers at ``url``, whatever it is."""
    try:
        exchange.retrying(lambda: finished(exchange.send_bare(Request("GET", url)), MAX_ERROR_BODY))
    except Unreachable:
        raise
    except RegistryError:
        return


class Session:
    """Attempts at one blob; the first takes the session that is ``opened``, if there is one.

    ``_url`` is the session that a broken attempt left, ``_reached`` how far it came, ``_least`` bytes of a piece.
    """

    def __init__(
        self,
        exchange: Exchange,
        scopes: tuple[str, ...],
        repository: str,
        digest: str,
        opened: Optional[Reply] = None,
    ) -> None:
        self._exchange = exchange
        self._scopes = scopes
        self._repository = repository
        self._digest = digest
        self._opened = opened
        self._url = ""
        self._reached = 0
        self._counted = 0
        self._least = 0
        self._renewed = False

    @property
    def is_open(self) -> bool:
        """Whether the registry opened a session for the last attempt."""
        return bool(self._url)

    @property
    def reached(self) -> int:
        """Bytes that the registry had when a session was last taken up again."""
        return self._reached

    def moved(self) -> bool:
        """Tell whether the last broken session had got on since this was asked."""
        before, self._counted = self._counted, self._reached
        return self._reached >= before + _PROGRESS

    @property
    def what(self) -> str:
        """What could not be done, when it could not."""
        return f"cannot send blob {self._digest} to {self._exchange.host}/{self._repository}"

    def require_stored(self, reply: Reply) -> None:
        """Raise ``RegistryError`` unless ``reply`` confirms the blob."""
        if reply.status not in STORED:
            raise reply.failure(self.what)
        told = reply.header("Docker-Content-Digest")
        if told and told != self._digest:
            raise RegistryError(self.what, status=reply.status, why=f"it stored {told!a}")

    def put_whole(self, body: Upload) -> Reply:
        """Send ``body`` in one request, or go on with the session that a broken attempt left."""
        offset, there = self._ask(body.size)
        if there is not None:
            return there
        if offset:
            reply = self._go_on(body, offset)
            if not 400 <= reply.status < 500 or reply.status in _NOT_OURS_TO_MEND:
                return reply
        reply = self._from_nothing(body)
        return self._from_nothing(body) if self._is_lost(reply) else reply

    def send_pieces(self, body: Upload, size: int) -> Reply:
        """Send ``body`` in requests of at most ``size`` bytes, or go on with the session that a broken attempt left."""
        offset, there = self._ask(body.size)
        if there is not None:
            return there
        reply = self._send_pieces(body, size, offset)
        return self._send_pieces(body, size, 0) if self._is_lost(reply) else reply

    def _ask(self, size: int) -> tuple[int, Optional[Reply]]:
        """Ask the session that a broken attempt left, if any, what it holds.

        Returns the bytes, and the answer that has the blob where it is there already.
        """
        if not self._url:
            return 0, None
        status = self.send(Request("GET", self._url))
        if 400 <= status.status < 500:
            # Closed, and only the answer got lost? Then there is nothing to send again.
            return 0, self._look(size)
        offset = held(status, size)
        if offset:
            self._reached = max(self._reached, offset)
            self._url = location(self._exchange, status) if status.header("Location") else self._url
        return offset, None

    def _is_lost(self, reply: Reply) -> bool:
        """Tell, once, whether ``reply`` refuses what was sent into a session, which a new one might take.

        A registry that was started anew, or another one behind the same name, does not know the session; bytes may
        have been damaged on their way.
        """
        lost = bool(self._url) and reply.status in _LOST and not self._renewed
        self._renewed = self._renewed or lost
        self._url = "" if lost else self._url
        return lost

    def _from_nothing(self, body: Upload) -> Reply:
        opened = self._begin()
        if not self._url:
            return opened
        return self.send(Request("PUT", self._closing(self._url), OCTETS, body))

    def end(self) -> None:
        """Give the session back that is open, if any: it may hold room until the registry looks for old ones."""
        url, self._url = self._url, ""
        if url:
            _cancel_at(self._exchange, url, self._repository)

    def _begin(self) -> Reply:
        self.end()
        opened = self.start()
        if 200 <= opened.status < 300:
            self._url = location(self._exchange, opened)
        return opened

    def _go_on(self, body: Upload, offset: int) -> Reply:
        if offset < body.size:
            headers = {**OCTETS, "Content-Range": f"{offset}-{body.size - 1}"}
            reply = self.send(Request("PATCH", self._url, headers, _rest(body, offset)))
            if reply.status not in {202, 204}:
                return reply
            self._url = location(self._exchange, reply)
        return self.close(self._url, body.size)

    def _send_pieces(self, body: Upload, size: int, offset: int) -> Reply:
        if not offset:
            reply = self._begin()
            if not self._url:
                return reply
            least = reply.header("OCI-Chunk-Min-Length")
            self._least = int(least) if least.isdigit() and len(least) < 10 else 0
        with body.open() as chunks:
            rest = Rest(_skipping(chunks, offset))
            while offset < body.size:
                length = min(max(size, self._least), body.size - offset)
                # No "bytes" in front and inclusive ends: the spec's own form, not RFC 9110's.
                headers = {**OCTETS, "Content-Range": f"{offset}-{offset + length - 1}"}
                reply = self.send(Request("PATCH", self._url, headers, rest.take(length)))
                if reply.status not in {202, 204}:
                    return reply
                self._url = location(self._exchange, reply)
                offset += length
                self._reached = max(self._reached, offset)
            rest.end()
        return self.close(self._url, body.size)

    def _look(self, size: int) -> Optional[Reply]:
        url = self._exchange.url(f"/v2/{self._repository}/blobs/{self._digest}")
        reply = self.send(Request("HEAD", url))
        return reply if reply.status == 200 and reply.header("Content-Length") == str(size) else None

    def close(self, url: str, size: int) -> Reply:
        """End the session: the ``size`` bytes that it got are the blob."""
        return self.send(Request("PUT", self._closing(url), {**OCTETS, "Content-Length": "0"}, b"", closes=size))

    def start(self) -> Reply:
        """Open a session, or take the one that is open."""
        opened, self._opened = self._opened, None
        if opened is not None:
            return opened
        url = self._exchange.url(f"/v2/{self._repository}/blobs/uploads/")
        return self.send(Request("POST", url, {"Content-Length": "0"}, b""))

    def send(self, request: Request) -> Reply:
        """Send one request of a session; a login goes along to the registry itself alone."""
        if self._exchange.is_ours(request.url):
            answer = self._exchange.once(request, self._scopes, self._repository)
        else:
            answer = self._exchange.send_bare(request)
        return finished(answer, MAX_ERROR_BODY)

    def _closing(self, url: str) -> str:
        parts = urllib.parse.urlsplit(url)
        # Only our parameter is encoded: the rest is the registry's state, to be given back as it came.
        query = "&".join(part for part in (parts.query, urllib.parse.urlencode({"digest": self._digest})) if part)
        return urllib.parse.urlunsplit(parts._replace(query=query))


def location(exchange: Exchange, reply: Reply) -> str:
    """Return the absolute URL of ``Location``; another host is allowed, plain http for https is not."""
    with _readable(exchange, reply):
        target = urllib.parse.urljoin(reply.url, reply.header("Location"))
        scheme, host, _ = origin(target)
        ours = origin(reply.url)
    if not reply.header("Location"):
        raise RegistryError(
            f"{exchange.host} opened an upload without Location",
            why="the distribution spec has it say where the bytes go",
            status=reply.status,
        )
    if scheme == "http" and ours[0] == "https":
        if host != ours[1]:
            raise RegistryError(
                f"{exchange.host} wants the upload on plain http", status=reply.status, why=shown_url(target)
            )
        # A registry behind a TLS proxy that does not tell it so names itself by http: same host, so stay on https.
        base = urllib.parse.urlsplit(reply.url)
        target = urllib.parse.urlunsplit(urllib.parse.urlsplit(target)._replace(scheme="https", netloc=base.netloc))
    return urllib.parse.urldefrag(target).url


@contextmanager
def _readable(exchange: Exchange, reply: Reply) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise RegistryError(
            f"{exchange.host} gave an upload Location that is no URL", why="it can't be parsed", status=reply.status
        ) from error


def held(status: Reply, size: int) -> int:
    """Return how many bytes of the blob the session holds, 0 when it does not say so (distribution spec, Range)."""
    match = _RANGE.fullmatch(status.header("Range")) if 200 <= status.status < 300 else None
    # An empty session says "0-0" (distribution/distribution), as does one with a single byte.
    held = int(match[1]) + 1 if match is not None and int(match[1]) else 0
    return held if held <= size else 0


def _rest(body: Upload, offset: int) -> Upload:
    """Return ``body`` without its first ``offset`` bytes, which are read all the same: they are part of its hash."""

    @contextmanager
    def opened() -> Iterator[Iterator[memoryview]]:
        with body.open() as chunks:
            yield _skipping(chunks, offset)

    return Upload(body.size - offset, opened)


def _skipping(chunks: Iterator[memoryview], offset: int) -> Iterator[memoryview]:
    for chunk in chunks:
        if len(chunk) > offset:
            yield chunk[offset:]
        offset = max(0, offset - len(chunk))
