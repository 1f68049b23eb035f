"""One registry host: login, redirects and retries around the transport. Methods live in ``registry``."""

from __future__ import annotations

import threading
import urllib.parse
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Callable, Optional, Union

from loader.bundle.errors import RegistryError
from loader.oci.answer import Answer
from loader.oci.auth import Authorizer
from loader.oci.challenge import Challenge
from loader.oci.credentials import Credential
from loader.oci.faults import Unreachable
from loader.oci.hints import request_hint
from loader.oci.http import Transport
from loader.oci.messages import (
    MAX_ERROR_BODY,
    Request,
    Upload,
    error_codes,
    origin,
    printable,
    registry_words,
    shown_url,
)
from loader.oci.model import api_host
from loader.oci.pace import Pace
from loader.oci.rate import RateLimit
from loader.oci.retry import AWAY_STATUSES, RETRYABLE_STATUSES, Backoff, RetryPolicy

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5


@dataclass(frozen=True)
class Reply:
    """A finished answer: everything small is read at once."""

    method: str
    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> str:
        """Return one header's value, or an empty string."""
        return self.headers.get(name.lower(), "")

    @property
    def codes(self) -> tuple[str, ...]:
        """The registry's own error codes (distribution spec, "Error Codes")."""
        return error_codes(self.body)

    @property
    def said(self) -> str:
        """Status and the registry's words, to be shown."""
        words = registry_words(self.body) if self.method != "HEAD" else ""
        if self.status in _REDIRECTS and self.header("Location"):
            words = f"to {shown_url(self.header('Location'))} {words}"
        later = printable(self.header("Retry-After")[:40])
        return f"HTTP {self.status} {words}".strip() + (f" (Retry-After: {later})" if later else "")

    def failure(self, what: str, hint: str = "") -> RegistryError:
        """Return the error for this reply; ``what`` says in a few words what could not be done."""
        return RegistryError(
            f"{what} ({self.method} {shown_url(self.url)})",
            status=self.status,
            why=self.said,
            hint=hint or request_hint(self.method, self.status, self.codes),
            retryable=self.status in RETRYABLE_STATUSES,
        )


class Exchange:
    """Sends requests to one registry; thread-safe.

    ``transports``: ways to reach it in the order to try, ``("https", …)`` first; the first that answers is kept.
    ``find``: credential of a repository. ``clock``: monotonic seconds. ``trace`` gets a line for every request,
    without anything that may be secret. ``limit`` paces the bodies that are sent. ``date`` is the last answer's.
    ``largest_body``: bytes of a request that got through where larger ones were refused, ``None`` before that.
    """

    def __init__(
        self,
        host: str,
        transports: Sequence[tuple[str, Transport]],
        find: Callable[[str], Optional[Credential]],
        *,
        retry: RetryPolicy,
        clock: Callable[[], float],
        trace: Callable[[str], None] = lambda _: None,
        limit: Optional[RateLimit] = None,
    ) -> None:
        self.host = host
        self.date = ""
        self.retry = retry
        self._clock = clock
        self._trace = trace
        self.limit = limit
        self.largest_body: Optional[int] = None
        self._transports = transports
        self._lock = threading.Lock()
        self._chosen: Optional[tuple[str, Transport]] = transports[0] if len(transports) == 1 else None
        plain = any(scheme == "http" for scheme, _ in transports)
        self._auth = Authorizer(host, find, clock=clock, plain=plain)
        self._pace = Pace(clock=clock, sleep=retry.sleep)
        self._were_there: set[tuple[str, str, int]] = set()

    @property
    def challenge(self) -> Optional[Challenge]:
        """The challenge that was met last, ``None`` before the first."""
        return self._auth.challenge

    def url(self, path: str) -> str:
        """Return the URL of ``path``, which starts with ``/v2/``; may ask the host once which scheme it speaks."""
        scheme, _ = self._reached()
        return f"{scheme}://{api_host(self.host)}{path}"

    def is_ours(self, url: str) -> bool:
        """Tell whether ``url`` is at this registry itself, where its credentials may go."""
        return origin(url) == origin(self.url("/v2/"))

    def open(self, request: Request, scopes: Sequence[str], repository: str, what: str, backoff: Backoff) -> Answer:
        """Send ``request`` with login and redirects; retry as ``backoff`` allows; the answer is 2xx.

        ``RegistryError`` naming ``what`` for everything else.
        """
        while True:
            try:
                answer = self.once(request, scopes, repository)
            except RegistryError as error:
                if not (error.retryable and self._waited(backoff, error)):
                    raise
                continue
            if 200 <= answer.status < 300:
                return answer
            reply = finished(answer, MAX_ERROR_BODY)
            if reply.status not in RETRYABLE_STATUSES or not self._waited(backoff, reply):
                raise reply.failure(f"cannot get {what}")

    def call(
        self,
        request: Request,
        scopes: Sequence[str],
        repository: str,
        *,
        cap: int = MAX_ERROR_BODY,
        again: Callable[[Reply], bool] = lambda _: False,
    ) -> Reply:
        """Send ``request`` and read the whole answer of at most ``cap`` bytes; any status is returned.

        ``again`` names further replies worth another attempt.
        """
        reply = self.retrying(lambda: finished(self.once(request, scopes, repository), cap), again=again)
        self.date = reply.header("date") or self.date
        return reply

    def retrying(
        self,
        action: Callable[[], Reply],
        *,
        again: Callable[[Reply], bool] = lambda _: False,
        moved: Callable[[], bool] = lambda: False,
    ) -> Reply:
        """Run ``action`` until its reply is not one to retry, or the attempts are used up.

        ``moved`` tells whether bytes arrived since it was last asked: the failure after that is a first one again.
        """
        backoff = self.retry.start()
        while True:
            try:
                reply = action()
            except RegistryError as error:
                if moved():
                    backoff.progress()
                if not (error.retryable and self._waited(backoff, error)):
                    raise
                continue
            retryable = reply.status in RETRYABLE_STATUSES or again(reply)
            if retryable and moved():
                backoff.progress()
            if not retryable or not self._waited(backoff, reply):
                return reply

    def _waited(self, backoff: Backoff, failed: Union[Reply, RegistryError]) -> bool:
        """Wait before another attempt, if there is to be one.

        A registry that was there and is away may be starting anew: it is waited for, by all requests at once, and
        after that no longer than one that was never there.
        """
        if isinstance(failed, Reply):
            asked, why = failed.header("Retry-After"), failed.said
            where = origin(failed.url) if failed.status in AWAY_STATUSES else None
        else:
            asked, why = "", str(failed)
            where = origin(failed.url) if isinstance(failed, Unreachable) and failed.url else None
        again = backoff.wait(asked, why, patient=where in self._were_there)
        if where is not None and not again:
            self._were_there.discard(where)
        return again

    def once(self, request: Request, scopes: Sequence[str], repository: str) -> Answer:
        """Send ``request`` once, with the token requests and redirects that it takes."""
        # Closed in any case: while it waits for a token, others wait for the same one.
        with closing(self._auth.flow(request, scopes, repository)) as flow:
            message = next(flow)
            while True:
                answer = self._follow(message)
                if answer.status == 401 and message.url == request.url and not self.is_ours(answer.url):
                    # A redirect's target must not make us ask a token server of its choice.
                    return answer
                try:
                    message = flow.send(answer)
                except StopIteration:
                    return answer
                except RegistryError:
                    answer.abort()
                    raise
                answer.close()

    def send_bare(self, request: Request) -> Answer:
        """Send ``request`` without any login: it goes to another host, which the registry named."""
        try:
            return self._send(request)
        except Unreachable as error:
            error.message = f"{self.host} sends uploads to {shown_url(request.url)}, where nobody answers"
            error.hint = ELSEWHERE
            raise

    def hang_up(self) -> None:
        """End every request that is under way, and all that follow."""
        for _, transport in self._transports:
            transport.hang_up()

    def close(self) -> None:
        """Close all idle connections."""
        for _, transport in self._transports:
            transport.close()

    def _follow(self, request: Request) -> Answer:
        for _ in range(_MAX_REDIRECTS):
            answer = self._send(request)
            if answer.status not in _REDIRECTS or request.method not in {"GET", "HEAD"}:
                return answer
            location = answer.header("Location")
            answer.close()
            target = self._redirected(request.url, location)
            if origin(target) != origin(request.url):
                request = request.without_header("Authorization")
            request = request.to(target)
        raise RegistryError(f"{self.host} redirects without end", status=302, why=shown_url(request.url))

    def _redirected(self, url: str, location: str) -> str:
        try:
            target = urllib.parse.urljoin(url, location)
            scheme = origin(target)[0]
        except ValueError as error:
            raise RegistryError(
                f"{self.host} redirects to nowhere", status=302, why=shown_url(location) if location else "no Location"
            ) from error
        if scheme == "http" and url.startswith("https:") and not self._may_be_plain():
            raise RegistryError(
                f"{self.host} redirects from https to http",
                status=302,
                why=shown_url(target),
                hint="plain http is used only where it is asked for",
            )
        return urllib.parse.urldefrag(target).url

    def _may_be_plain(self) -> bool:
        return any(scheme == "http" for scheme, _ in self._transports)

    def _send(self, request: Request) -> Answer:
        if self.limit is not None and isinstance(request.body, Upload):
            request = request.with_body(self.limit.paced(request.body))
        return self._timed(self._reached()[1], request)

    def _reached(self) -> tuple[str, Transport]:
        if self._chosen is None:
            with self._lock:
                self._chosen = self._chosen or self._probe()
        return self._chosen

    def _probe(self) -> tuple[str, Transport]:
        errors = []
        for scheme, transport in self._transports:
            error = self._knock(transport, f"{scheme}://{api_host(self.host)}/v2/")
            if error is None:
                return scheme, transport
            errors.append(error)
        raise errors[0]

    def _knock(self, transport: Transport, url: str) -> Optional[RegistryError]:
        """Return why nothing answers at ``url``, or ``None`` when anything does."""
        try:
            self._timed(transport, Request("GET", url)).close()
        except RegistryError as error:
            return error
        return None

    def _timed(self, transport: Transport, request: Request) -> Answer:
        """Send ``request`` in its turn and trace it: its time ends with the head of the answer."""
        turn = self._pace.turn()
        started = self._clock()
        outcome = "failed"
        try:
            answer = transport.send(request)
            outcome = str(answer.status)
            self._pace.told(turn, answer.status)
            if answer.status not in AWAY_STATUSES:
                self._were_there.add(origin(request.url))
        finally:
            spent = (self._clock() - started) * 1000
            self._trace(f"{request.method} {shown_url(request.url)} {outcome} {spent:.0f} ms")
        return answer


def finished(answer: Answer, cap: int) -> Reply:
    """Read the whole of ``answer``; of an error's body what can be had, of a good one at most ``cap`` bytes."""
    headers = {name: answer.header(name) for name in _HEADERS}
    good = 200 <= answer.status < 300
    body = answer.read_all(cap) if good else answer.read_error(MAX_ERROR_BODY)
    return Reply(answer.method, answer.url, answer.status, headers, body)


ELSEWHERE = (
    "it calls itself by a name that is not its own here: a proxy before it has to pass on Host and X-Forwarded-Proto, "
    "or its own setting is wrong (distribution: http.host, http.relativeurls)"
)
_HEADERS = (
    "content-length",
    "content-type",
    "date",
    "docker-content-digest",
    "docker-distribution-api-version",
    "link",
    "location",
    "oci-chunk-min-length",
    "range",
    "retry-after",
    "server",
    "www-authenticate",
    "x-artifactory-id",
    "x-jfrog-version",
    "x-registry-supports-signatures",
)
