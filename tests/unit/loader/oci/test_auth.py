"""The login flow without a socket: requests come out of the generator, answers go in."""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from loader.bundle.errors import RegistryError
from loader.oci.auth import AuthFlow, Authorizer
from loader.oci.credentials import Credential
from loader.oci.messages import Request
from tests.support.clients import FakeTime

BEARER = 'Bearer realm="https://auth.example/token?x=1",service="reg",scope="repository:a:pull"'
SCOPES = ("repository:a:pull,push",)
REQUEST = Request("GET", "https://reg/v2/a/manifests/x")


@dataclass
class FakeAnswer:
    status: int
    challenges: Sequence[str] = ()
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def header_values(self, name: str) -> Sequence[str]:
        return self.challenges if name.lower() == "www-authenticate" else ()

    def read_all(self, cap: int) -> bytes:
        assert len(self.body) <= cap
        return self.body


def token(value: str = "T", **more: object) -> FakeAnswer:
    return FakeAnswer(200, body=json.dumps({"token": value, **more}).encode())


def authorizer(time: FakeTime, credential: Credential | None = None, *, plain: bool = False) -> Authorizer:
    return Authorizer("reg", lambda _: credential, clock=time.clock, plain=plain)


def drive(flow: AuthFlow, *answers: FakeAnswer) -> list[Request]:
    """Feed ``answers``; all of them must be asked for, and no more."""
    sent = [next(flow), *(flow.send(answer) for answer in answers[:-1])]
    with pytest.raises(StopIteration):
        flow.send(answers[-1])
    return sent


def test_without_a_challenge_nothing_is_added() -> None:
    sent = drive(authorizer(FakeTime(), Credential("u", "p")).flow(REQUEST, SCOPES), FakeAnswer(200))
    assert sent == [REQUEST]


def test_bearer_is_request_challenge_token_request() -> None:
    flow = authorizer(FakeTime(), Credential("u", "p")).flow(REQUEST, SCOPES)
    first, asked, last = drive(flow, FakeAnswer(401, [BEARER]), token("T1"), FakeAnswer(200))
    assert first == REQUEST
    parts = urllib.parse.urlsplit(asked.url)
    assert (asked.method, parts.netloc, parts.path) == ("GET", "auth.example", "/token")
    query = urllib.parse.parse_qs(parts.query)
    assert query == {"x": ["1"], "service": ["reg"], "scope": list(SCOPES), "account": ["u"]}
    assert asked.headers == {"Authorization": "Basic " + base64.b64encode(b"u:p").decode()}
    assert last == REQUEST.with_header("Authorization", "Bearer T1")


def test_without_a_login_the_token_is_anonymous() -> None:
    _, asked, last = drive(
        authorizer(FakeTime()).flow(REQUEST, SCOPES), FakeAnswer(401, [BEARER]), token(), FakeAnswer(200)
    )
    assert asked.headers == {}
    assert last.headers["Authorization"] == "Bearer T"


def test_the_challenges_scope_is_used_when_we_have_none() -> None:
    _, asked, _ = drive(authorizer(FakeTime()).flow(REQUEST, ()), FakeAnswer(401, [BEARER]), token(), FakeAnswer(200))
    assert urllib.parse.parse_qs(urllib.parse.urlsplit(asked.url).query)["scope"] == ["repository:a:pull"]


def test_an_identity_token_goes_in_a_form() -> None:
    flow = authorizer(FakeTime(), Credential("", "", "refresh")).flow(REQUEST, SCOPES)
    _, asked, _ = drive(flow, FakeAnswer(401, [BEARER]), token(), FakeAnswer(200))
    assert asked.method == "POST"
    assert isinstance(asked.body, bytes)
    form = urllib.parse.parse_qs(asked.body.decode())
    assert (form["grant_type"], form["refresh_token"]) == (["refresh_token"], ["refresh"])
    assert "refresh" not in asked.url


def test_a_token_is_kept_until_it_expires() -> None:
    time = FakeTime()
    made = authorizer(time)
    drive(made.flow(REQUEST, SCOPES), FakeAnswer(401, [BEARER]), token("T1", expires_in=100), FakeAnswer(200))
    time.now += 90
    (sent,) = drive(made.flow(REQUEST, SCOPES), FakeAnswer(200))
    assert sent.headers["Authorization"] == "Bearer T1"
    time.now += 10
    asked, sent = drive(made.flow(REQUEST, SCOPES), token("T2"), FakeAnswer(200))
    assert asked.url.startswith("https://auth.example/")
    assert sent.headers["Authorization"] == "Bearer T2"


def test_another_scope_has_another_token() -> None:
    made = authorizer(FakeTime())
    drive(made.flow(REQUEST, SCOPES), FakeAnswer(401, [BEARER]), token("T1"), FakeAnswer(200))
    _, sent = drive(made.flow(REQUEST, ("repository:b:pull",)), token("T2"), FakeAnswer(200))
    assert sent.headers["Authorization"] == "Bearer T2"


def test_each_repository_has_its_own_token_server() -> None:
    made, other = authorizer(FakeTime()), BEARER.replace("auth.example", "other.example")
    drive(made.flow(REQUEST, SCOPES, "a"), FakeAnswer(401, [BEARER]), token("TA"), FakeAnswer(200))
    scopes = ("repository:b:pull",)
    # The first one knows nothing of b; the registry says who does.
    answers = (FakeAnswer(403), FakeAnswer(401, [other]), token("TB"), FakeAnswer(200))
    first, bare, asked, last = drive(made.flow(REQUEST, scopes, "b"), *answers)
    assert [urllib.parse.urlsplit(one.url).netloc for one in (first, asked)] == ["auth.example", "other.example"]
    assert (bare, last.headers["Authorization"]) == (REQUEST, "Bearer TB")
    for repository, own, value in (("a", SCOPES, "TA"), ("b", scopes, "TB")):
        (sent,) = drive(made.flow(REQUEST, own, repository), FakeAnswer(200))
        assert sent.headers["Authorization"] == f"Bearer {value}"


def test_a_token_server_that_refuses_what_the_registry_asks_for_now_is_an_error() -> None:
    made = authorizer(FakeTime())
    drive(made.flow(REQUEST, SCOPES), FakeAnswer(401, [BEARER]), token("T1"), FakeAnswer(200))
    flow = made.flow(REQUEST, ("repository:b:pull",))
    next(flow)
    assert flow.send(FakeAnswer(403)) == REQUEST
    flow.send(FakeAnswer(401, [BEARER]))
    with pytest.raises(RegistryError, match="refused"):
        flow.send(FakeAnswer(403))


def test_a_refused_token_is_asked_for_again_once() -> None:
    made = authorizer(FakeTime())
    drive(made.flow(REQUEST, SCOPES), FakeAnswer(401, [BEARER]), token("T1"), FakeAnswer(200))
    sent = drive(made.flow(REQUEST, SCOPES), FakeAnswer(401, [BEARER]), token("T2"), FakeAnswer(401, [BEARER]))
    assert [one.headers.get("Authorization") for one in sent] == ["Bearer T1", None, "Bearer T2"]


def test_basic() -> None:
    made = authorizer(FakeTime(), Credential("u", "p"))
    _, sent = drive(made.flow(REQUEST, SCOPES), FakeAnswer(401, ['Basic realm="x"']), FakeAnswer(200))
    assert sent.headers["Authorization"] == Credential("u", "p").basic()
    (sent,) = drive(made.flow(REQUEST, SCOPES), FakeAnswer(200))
    assert sent.headers["Authorization"] == Credential("u", "p").basic()


@pytest.mark.parametrize("challenge", ['Basic realm="x"', "Negotiate", "", 'Bearer service="no realm"'])
def test_without_a_way_in_the_401_stands(challenge: str) -> None:
    assert len(drive(authorizer(FakeTime()).flow(REQUEST, SCOPES), FakeAnswer(401, [challenge]))) == 1


def test_bearer_is_preferred_to_basic() -> None:
    flow = authorizer(FakeTime(), Credential("u", "p")).flow(REQUEST, SCOPES)
    sent = drive(flow, FakeAnswer(401, ['Basic realm="x"', BEARER]), token(), FakeAnswer(200))
    assert sent[-1].headers["Authorization"] == "Bearer T"


@pytest.mark.parametrize(
    "realm", ["http://auth.example/token", "ftp://x/", "/token", "file:///etc/passwd", "https://[", "https:///x"]
)
def test_a_login_does_not_go_to_a_token_server_without_tls(realm: str) -> None:
    flow = authorizer(FakeTime(), Credential("u", "top-secret")).flow(REQUEST, SCOPES)
    next(flow)
    with pytest.raises(RegistryError, match="do not talk to"):
        flow.send(FakeAnswer(401, [f'Bearer realm="{realm}"']))


def test_beside_a_plain_registry_the_token_server_may_be_plain() -> None:
    flow = authorizer(FakeTime(), Credential("u", "p"), plain=True).flow(REQUEST, SCOPES)
    next(flow)
    assert flow.send(FakeAnswer(401, ['Bearer realm="http://reg/token"'])).url.startswith("http://reg/token?")


@pytest.mark.parametrize(
    "answer",
    [
        FakeAnswer(401, body=b'{"errors":[{"code":"UNAUTHORIZED","message":"wrong"}]}'),
        FakeAnswer(403),
        FakeAnswer(503, body=b"busy"),
        FakeAnswer(302),
        FakeAnswer(200, body=b"<html>"),
        FakeAnswer(200, body=b"[]"),
        FakeAnswer(200, body=b"{}"),
        FakeAnswer(200, body=b'{"token":5}'),
        FakeAnswer(200, body=b'{"token":"a\\r\\nX-Evil: 1"}'),
        FakeAnswer(200, body=json.dumps({"token": "x" * 100_000}).encode()),
    ],
)
def test_a_token_server_that_fails_is_named_without_secrets(answer: FakeAnswer) -> None:
    flow = authorizer(FakeTime(), Credential("u", "top-secret")).flow(REQUEST, SCOPES)
    next(flow)
    flow.send(FakeAnswer(401, [BEARER]))
    with pytest.raises(RegistryError) as caught:
        flow.send(answer)
    shown = f"{caught.value} {caught.value.hint}"
    assert "auth.example" in shown or "reg" in shown
    assert "top-secret" not in shown
    assert caught.value.retryable is (answer.status == 503)


@pytest.mark.parametrize("life", [0, -5, "soon", 1e30, None, True])
def test_a_strange_life_is_a_minute(life: object) -> None:
    time = FakeTime()
    made = authorizer(time)
    drive(made.flow(REQUEST, SCOPES), FakeAnswer(401, [BEARER]), token("T1", expires_in=life), FakeAnswer(200))
    time.now += 61
    assert len(drive(made.flow(REQUEST, SCOPES), token("T2"), FakeAnswer(200))) == 2
