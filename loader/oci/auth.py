"""Getting through a registry's 401: basic, and bearer tokens as a generator of requests.

``Authorizer.flow`` does no I/O: it yields requests and is sent their answers, so one driver (and a
test without a socket) decides how they travel. Rules: distribution "Token Authentication
Specification", RFC 7617, RFC 6750.
"""

from __future__ import annotations

import json
import re
import threading
import urllib.parse
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Callable, Optional, Protocol

from loader.bundle.errors import RegistryError
from loader.oci.challenge import Challenge, parse_challenges
from loader.oci.credentials import Credential
from loader.oci.hints import LOGIN
from loader.oci.messages import Request, origin, registry_words, shown_url

MAX_TOKEN_ANSWER = 2**20
_MAX_TOKEN = 64 * 2**10
_DEFAULT_LIFE = 60.0
"""Seconds a token lives when the server does not say ("Token Authentication Specification")."""
_MARGIN = 5.0
_MAX_LIFE = 3600.0
_REFUSED = frozenset({400, 401, 403})
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
CLIENT_ID = "airgap-bundler"


class AuthAnswer(Protocol):
    """What the flow needs of an answer."""

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    def header_values(self, name: str) -> Sequence[str]:
        """All values of a header."""
        ...

    def read_all(self, cap: int) -> bytes:
        """Return the whole body, at most ``cap`` bytes, and give the connection back."""
        ...


_Key = tuple[str, str, tuple[str, ...], str]
"""Realm, service, scopes, user: what a token is good for."""
AuthFlow = Generator[Request, AuthAnswer, None]


@dataclass(frozen=True)
class _Token:
    value: str
    expires: float


class Authorizer:
    """The login state of one registry; thread-safe.

    ``find`` gives the credential for a repository, ``clock`` is monotonic seconds.
    """

    def __init__(
        self, host: str, find: Callable[[str], Optional[Credential]], *, clock: Callable[[], float], plain: bool = False
    ) -> None:
        self._host = host
        self._find = find
        self._clock = clock
        self._plain = plain
        self._lock = threading.Lock()
        self._challenge: Optional[Challenge] = None
        # A gateway may have a token server for each path below it.
        self._challenges: dict[str, Challenge] = {}
        self._tokens: dict[_Key, _Token] = {}
        self._locks: dict[_Key, threading.Lock] = {}

    @property
    def challenge(self) -> Optional[Challenge]:
        """The challenge that was met last, ``None`` before the first."""
        return self._challenge

    def flow(self, request: Request, scopes: Sequence[str], repository: str = "") -> AuthFlow:
        """Yield ``request`` (with a login where one is known), token requests, and ``request`` again after a 401.

        The flow ends when the answer last sent in is the one to use, a second 401 included. ``RegistryError`` when
        a token server refuses that the registry names now; one that it named before may be another's by now.
        """
        credential = self._find(repository)
        fresh = None
        challenge = self._challenges.get(repository, self._challenge)
        for _ in range(2):
            header = ""
            if challenge is not None:
                try:
                    header = yield from self._authorization(challenge, tuple(scopes), credential)
                except RegistryError as error:
                    if fresh is not None or error.status not in _REFUSED:
                        raise
            answer = yield (request.with_header("Authorization", header) if header else request)
            if answer.status != 401:
                return
            fresh = self._choose(answer, credential)
            if fresh is None:
                return
            self._forget(header, _key(fresh, tuple(scopes), credential))
            with self._lock:
                self._challenge = self._challenges[repository] = challenge = fresh

    def _choose(self, answer: AuthAnswer, credential: Optional[Credential]) -> Optional[Challenge]:
        offered = parse_challenges(answer.header_values("WWW-Authenticate"))
        for challenge in offered:
            if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
                return challenge
        if credential is None or not credential.username:
            return None
        return next((one for one in offered if one.scheme == "basic"), None)

    def _authorization(
        self, challenge: Challenge, scopes: tuple[str, ...], credential: Optional[Credential]
    ) -> Generator[Request, AuthAnswer, str]:
        if challenge.scheme == "basic":
            return credential.basic() if credential is not None and credential.username else ""
        key = _key(challenge, scopes, credential)
        # Held while the token is on its way: the other workers want the same one.
        with self._fetching(key):
            token = self._tokens.get(key)
            if token is None or token.expires <= self._clock():
                request = self._token_request(challenge, key[2], credential)
                answer = yield request
                token = self._tokens[key] = self._read_token(request, answer)
        return f"Bearer {token.value}"

    def _fetching(self, key: _Key) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(key, threading.Lock())

    def _forget(self, header: str, key: _Key) -> None:
        """Drop the token that ``header`` was made of; one that came since is kept."""
        with self._lock:
            token = self._tokens.get(key)
            if token is not None and header == f"Bearer {token.value}":
                del self._tokens[key]

    def _token_request(
        self, challenge: Challenge, scopes: tuple[str, ...], credential: Optional[Credential]
    ) -> Request:
        realm = challenge.parameters["realm"]
        parts = self._realm_parts(realm)
        fields = [("service", challenge.parameters["service"])] if challenge.parameters.get("service") else []
        if credential is not None and credential.identity_token:
            fields += [("grant_type", "refresh_token"), ("client_id", CLIENT_ID)]
            fields += [("scope", " ".join(scopes)), ("refresh_token", credential.identity_token)]
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return Request("POST", realm, headers, urllib.parse.urlencode(fields).encode("ascii"))
        fields += [("scope", scope) for scope in scopes]
        headers = {}
        if credential is not None and credential.username:
            fields.append(("account", credential.username))
            headers["Authorization"] = credential.basic()
        query = "&".join(part for part in (parts.query, urllib.parse.urlencode(fields)) if part)
        return Request("GET", urllib.parse.urlunsplit(parts._replace(query=query, fragment="")), headers)

    def _realm_parts(self, realm: str) -> urllib.parse.SplitResult:
        why = f"{shown_url(realm)} is not https"
        try:
            scheme = origin(realm)[0]
        except ValueError as error:
            scheme, why = "", str(error)
        # A login must not leave in plain text because a header asked for it.
        if scheme != "https" and not (self._plain and scheme == "http"):
            raise RegistryError(f"{self._host} names a token server we do not talk to", status=401, why=why)
        return urllib.parse.urlsplit(realm)

    def _read_token(self, request: Request, answer: AuthAnswer) -> _Token:
        data = answer.read_all(MAX_TOKEN_ANSWER)
        where = shown_url(request.url)
        if answer.status != 200:
            refused = answer.status in _REFUSED
            raise RegistryError(
                f"{self._host}: the token server {where} refused" if refused else f"the token server {where} failed",
                status=answer.status,
                why=f"HTTP {answer.status} {registry_words(data)}".strip(),
                hint=f"check the login for {self._host} ({LOGIN})" if refused else "",
                retryable=answer.status in {408, 429, 500, 502, 503, 504},
            )
        try:
            plain = json.loads(data)
            value = plain.get("token") or plain.get("access_token")
            life = plain.get("expires_in")
        except (ValueError, RecursionError, AttributeError) as error:
            raise RegistryError(
                f"the token server {where} did not answer with JSON", why="a token comes as a JSON object", status=200
            ) from error
        if not isinstance(value, str) or len(value) > _MAX_TOKEN or _PRINTABLE.fullmatch(value) is None:
            raise RegistryError(
                f"the token server {where} gave no usable token",
                why="neither token nor access_token holds one that can be sent",
                status=200,
            )
        seconds = float(life) if isinstance(life, (int, float)) and 0 < life < 1e9 else _DEFAULT_LIFE
        return _Token(value, self._clock() + min(max(seconds - _MARGIN, seconds / 2), _MAX_LIFE))


def _key(challenge: Challenge, scopes: tuple[str, ...], credential: Optional[Credential]) -> _Key:
    asked = scopes or tuple(challenge.parameters.get("scope", "").split())
    who = credential.username if credential is not None else ""
    return challenge.parameters.get("realm", ""), challenge.parameters.get("service", ""), asked, who
