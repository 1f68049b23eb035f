"""Sending a blob whose bytes come in parts with pauses between: from several discs in one drive.

Each part is one PATCH, closed before the pause, so that no connection waits for a person. After it the registry is
asked how far it is; one that forgot gets the blob from its beginning (distribution spec, "Pushing a blob in chunks").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from loader.bundle.errors import RegistryError
from loader.oci.exchange import Exchange, Reply
from loader.oci.messages import OpenBody, Request
from loader.oci.rest import Rest
from loader.oci.upload import OCTETS, PIECES, Session, held, location

_PROBE = 2**20
"""Bytes to send to a registry that does not tell how far a session is: it refuses them or takes what follows."""
_TRIES = 2
"""How often a registry may forget what it got, each time having earlier discs asked for again."""


def send_parts(session: Session, exchange: Exchange, parts: Sequence[int], open_body: OpenBody, *, what: str) -> Reply:
    """Upload the blob of ``session``, ``parts`` being the bytes between the pauses of what ``open_body`` opens.

    Returns the last reply. Raises ``RegistryError`` naming ``what`` when the registry forgets a second time.
    """
    attempts = _PartSession(session, exchange, parts)
    limits = [max(parts), *PIECES]
    for attempt in range(_TRIES):
        reply = exchange.retrying(lambda: attempts.send(open_body, limits[0]))
        while reply.status == 413 and len(limits) > 1:
            del limits[0]
            reply = exchange.retrying(lambda: attempts.send(open_body, limits[0]))
        if not attempts.forgotten:
            break
        if attempt + 1 == _TRIES:
            raise RegistryError(
                what,
                status=reply.status,
                why=f"it forgot {_TRIES} times what it had got before a disc was changed",
                hint="run the same command with --stage DIR: the discs are copied first, and blobs are sent whole",
            )
    return reply


class _PartSession:
    """``forgotten``: the last attempt ended because the registry did not hold what it had taken."""

    def __init__(self, session: Session, exchange: Exchange, parts: Sequence[int]) -> None:
        self.forgotten = False
        self._session = session
        self._exchange = exchange
        self._parts = parts

    def send(self, open_body: OpenBody, limit: int) -> Reply:
        """Send everything in one session, in requests of at most ``limit`` bytes."""
        self.forgotten = False
        with open_body() as chunks:
            rest = Rest(chunks)
            rest.wait()
            reply = self._session.start()
            if not 200 <= reply.status < 300:
                return reply
            url, done = location(self._exchange, reply), 0
            for part in self._parts:
                rest.wait()
                sure = True
                if done:
                    reply = self._session.send(Request("GET", url))
                    sure = 200 <= reply.status < 300
                    if sure and held(reply, sum(self._parts)) != done:
                        self.forgotten = True
                        return reply
                    url = location(self._exchange, reply) if reply.header("Location") else url
                for size in _cut(part, limit, sure=sure):
                    headers = {**OCTETS, "Content-Range": f"{done}-{done + size - 1}"}
                    reply = self._session.send(Request("PATCH", url, headers, rest.take(size)))
                    if reply.status not in {202, 204}:
                        self.forgotten = not sure and 400 <= reply.status < 500
                        return reply
                    url, done, sure = location(self._exchange, reply), done + size, True
            rest.end()
        return self._session.close(url, sum(self._parts))


def _cut(part: int, limit: int, *, sure: bool) -> Iterator[int]:
    """Yield the sizes of a part's requests; where nobody said that the session is still there, a small one first."""
    if not sure:
        yield min(_PROBE, limit, part)
        part -= min(_PROBE, limit, part)
    for start in range(0, part, limit):
        yield min(limit, part - start)
