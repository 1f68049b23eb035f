"""Uploads that break: what has arrived is not sent again."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader.bundle.digest import digest_of
from loader.bundle.errors import RegistryError
from loader.oci.environment import AccessOptions
from loader.oci.registry import Registry
from tests.support.clients import Client
from tests.support.registry import RegistryServer
from tests.unit.loader.oci.test_registry_push import DATA, DIGEST, Body, upload

HALF = len(DATA) // 2


def sizes(server: RegistryServer, method: str) -> list[int]:
    return [int(one.headers["content-length"]) for one in server.seen(method)]


def test_a_broken_put_goes_on_where_it_stopped(registry: Registry, server: RegistryServer, client: Client) -> None:
    server.fail("cut", method="PUT", after=HALF)
    upload(registry)
    assert server.store.blob(DIGEST) == DATA
    assert [one.method for one in server.requests] == ["POST", "PUT", "GET", "PATCH", "PUT"]
    patch = server.seen("PATCH")[0]
    assert patch.headers["content-range"] == f"{HALF}-{len(DATA) - 1}"
    assert sizes(server, "PATCH") == [len(DATA) - HALF]
    assert sizes(server, "PUT") == [len(DATA), 0]
    assert len(client.time.slept) == 1


def test_as_often_as_bytes_move(registry: Registry, server: RegistryServer, client: Client) -> None:
    data = DATA * 8
    server.fail("cut", method="PUT", after=2**21)
    server.fail("cut", method="PATCH", after=2**21, times=6)
    registry.upload_blob("a", digest_of(data), len(data), Body(data))
    assert server.store.blob(digest_of(data)) == data
    assert len(client.time.slept) == 7 > client_attempts(registry)
    assert sizes(server, "PATCH")[-1] == len(data) - 7 * 2**21


def client_attempts(registry: Registry) -> int:
    return registry._exchange.retry.attempts


def test_a_line_that_moves_next_to_nothing_is_given_up(registry: Registry, server: RegistryServer) -> None:
    server.fail("cut", method="PUT", after=1000, times=99)
    server.fail("cut", method="PATCH", after=1000, times=99)
    with pytest.raises(RegistryError, match="no answer"):
        upload(registry)
    assert len(server.seen("PATCH")) == 3


def test_a_session_that_is_gone_starts_again(registry: Registry, server: RegistryServer) -> None:
    server.fail("forget", method="PUT", after=HALF)
    upload(registry)
    assert server.store.blob(DIGEST) == DATA
    assert sizes(server, "PUT") == [len(DATA)] * 2
    assert not server.seen("PATCH")


def test_a_lost_answer_is_not_paid_for_twice(registry: Registry, server: RegistryServer) -> None:
    server.fail("mute", method="PUT")
    upload(registry)
    assert [one.method for one in server.requests] == ["POST", "PUT", "GET", "HEAD"]


def test_all_bytes_there_and_only_the_end_missing(registry: Registry, server: RegistryServer) -> None:
    server.fail("cut", method="PUT", after=len(DATA))
    upload(registry)
    assert server.store.blob(DIGEST) == DATA
    assert sizes(server, "PUT") == [len(DATA), 0]
    assert not server.seen("PATCH")


@pytest.mark.parametrize("said", ["0-99999999999", "", "5", "bytes 0-7", "7-9", "0-" + "9" * 30])
def test_an_offset_that_cannot_be_is_not_believed(registry: Registry, server: RegistryServer, said: str) -> None:
    server.fail("cut", method="PUT", after=HALF)
    server.fail("status", method="GET", status=204, headers={"Range": said})
    upload(registry)
    assert server.store.blob(DIGEST) == DATA
    assert sizes(server, "PUT") == [len(DATA)] * 2


def test_a_wrong_offset_is_found_out_by_the_digest(registry: Registry, server: RegistryServer) -> None:
    server.fail("cut", method="PUT", after=HALF)
    server.fail("status", method="GET", status=204, headers={"Range": f"0-{HALF + 9}"})
    upload(registry)
    assert server.store.blob(DIGEST) == DATA
    assert sizes(server, "PUT") == [len(DATA)] * 2


@pytest.mark.parametrize("status", [400, 404, 416])
def test_a_rest_that_is_refused_starts_again(registry: Registry, server: RegistryServer, status: int) -> None:
    server.fail("cut", method="PUT", after=HALF)
    server.fail("status", method="PATCH", status=status)
    upload(registry)
    assert server.store.blob(DIGEST) == DATA


def test_a_disk_that_fills_up_ends_with_the_registrys_words(registry: Registry, server: RegistryServer) -> None:
    body = b'{"errors":[{"code":"UNKNOWN","message":"no space left on device"}]}'
    server.fail("cut", method="PUT", after=HALF)
    server.fail("status", method="PATCH", status=500, times=99, body=body)
    with pytest.raises(RegistryError) as caught:
        upload(registry)
    assert "no space left" in caught.value.why
    assert caught.value.status == 500


def test_no_byte_in_the_time_is_a_break_but_a_long_upload_is_not(server: RegistryServer, tmp_path: Path) -> None:
    server.fail("hang", method="POST", seconds=5)
    client = Client(tmp_path, AccessOptions(plain_http=True, timeout=0.3))
    with client.to(server) as registry:
        upload(registry)
    assert "timed out: no byte moved" in "\n".join(client.traced)
    assert server.store.blob(DIGEST) == DATA
    slow = Client(tmp_path, AccessOptions(plain_http=True, timeout=0.3))
    with slow.to(server) as registry:
        registry.upload_blob("slow", DIGEST, len(DATA), Body(pause=0.1))
    assert server.store.has_blob("slow", DIGEST)
    assert len([one for one in server.seen("PUT") if "/slow/" in one.path]) == 1


def test_who_stores_what_it_took_is_waited_for(server: RegistryServer, tmp_path: Path) -> None:
    """A proxy passes a blob on when it has all of it, an object store copies it: no byte moves meanwhile."""
    for number in range(2):
        if number:
            server.fail("status", method="PUT", status=413)  # and so it goes in pieces
        server.fail("hang", method="PUT", seconds=1)
        client = Client(tmp_path, AccessOptions(plain_http=True, timeout=0.3))
        with client.to(server) as registry:
            registry.upload_blob(f"slow{number}", DIGEST, len(DATA), Body())
        assert "timed out" not in "\n".join(client.traced)
        assert server.store.has_blob(f"slow{number}", DIGEST)
        assert bool(server.seen("PATCH")) == bool(number)


FORGOTTEN = b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"blob upload unknown to registry"}]}'


@pytest.mark.parametrize("status", [400, 404, 410, 416])
@pytest.mark.parametrize("ahead", [False, True])
def test_a_session_that_the_registry_does_not_know_any_more_starts_again(
    registry: Registry, server: RegistryServer, status: int, *, ahead: bool
) -> None:
    server.fail("status", method="PUT", status=status, body=FORGOTTEN)
    opened = registry.open_upload("a/b") if ahead else None
    registry.upload_blob("a/b", DIGEST, len(DATA), Body(), opened)
    assert server.store.blob(DIGEST) == DATA
    assert [one.method for one in server.requests] == ["POST", "PUT", "POST", "PUT"]


def test_a_session_that_is_never_known_is_an_error_with_its_cause(registry: Registry, server: RegistryServer) -> None:
    server.fail("status", method="PUT", status=404, body=FORGOTTEN, times=99)
    with pytest.raises(RegistryError, match="BLOB_UPLOAD_UNKNOWN") as caught:
        upload(registry)
    assert "http.secret" in caught.value.hint
    assert len(server.seen("PUT")) == 2


@pytest.mark.parametrize("location", ["", "http://[", "ftp://x/y"])
def test_a_session_opened_ahead_that_is_nowhere_is_opened_anew(
    registry: Registry, server: RegistryServer, location: str
) -> None:
    server.store.add_blob("base", DATA)
    server.rules.mounts = False
    server.fail("status", method="POST", status=202, headers={"Location": location}, times=2)
    assert registry.open_upload("a/b") is None
    assert registry.mount("a/b", DIGEST, "base").opened is None


@pytest.fixture
def limited(server: RegistryServer) -> RegistryServer:
    server.rules.max_body = 600_000
    return server


LONG = DATA * 6


def send_long(registry: Registry) -> Body:
    body = Body(LONG)
    registry.upload_blob("a", digest_of(LONG), len(LONG), body)
    return body


@pytest.mark.parametrize("status", [429, 503])
def test_pieces_go_on_after_one_that_was_put_off(registry: Registry, limited: RegistryServer, status: int) -> None:
    for number in range(1, 6):
        # Every piece behind another quarter is refused once.
        start = number * len(LONG) // 6 // 2**19 * 2**19
        limited.fail("status", method="PATCH", status=status, range=f"^{start}-")
    send_long(registry)
    assert limited.store.blob(digest_of(LONG)) == LONG
    stored = [size for size in sizes(limited, "PATCH") if size <= 600_000]
    assert sum(stored) == len(LONG) + 5 * 2**19
    assert len(limited.seen("POST")) == 3  # the whole, the pieces of 8 MiB, those of 512 KiB


@pytest.mark.parametrize("status", [429, 503])
def test_a_session_that_took_nothing_is_given_back_before_the_next(
    registry: Registry, server: RegistryServer, status: int
) -> None:
    server.fail("status", method="PUT", status=status)
    upload(registry)
    assert [one.method for one in server.requests] == ["POST", "PUT", "GET", "DELETE", "POST", "PUT"]
    assert server.requests[3].path == server.requests[2].path


def test_sessions_too_small_for_the_blob_are_given_back(registry: Registry, limited: RegistryServer) -> None:
    send_long(registry)
    assert len(limited.seen("POST")) == len(limited.seen("DELETE")) + 1


def test_a_session_whose_blob_is_refused_in_the_end_is_given_back(registry: Registry, server: RegistryServer) -> None:
    server.fail("status", method="PUT", status=403, times=99)
    with pytest.raises(RegistryError):
        upload(registry)
    assert len(server.seen("DELETE")) == len(server.seen("POST"))


def test_pieces_go_on_in_the_middle_of_one_that_broke(registry: Registry, limited: RegistryServer) -> None:
    limited.fail("cut", method="PATCH", after=1000, range=f"^{2**20}-")
    send_long(registry)
    assert limited.store.blob(digest_of(LONG)) == LONG
    ranges = [one.headers["content-range"] for one in limited.seen("PATCH")]
    assert f"{2**20 + 1000}-{2**20 + 1000 + 2**19 - 1}" in ranges


def test_pieces_of_a_session_that_is_gone_start_again(registry: Registry, limited: RegistryServer) -> None:
    limited.fail("status", method="PATCH", status=404, body=FORGOTTEN, range=f"^{2**20}-")
    send_long(registry)
    assert limited.store.blob(digest_of(LONG)) == LONG
    assert [one.headers["content-range"].split("-")[0] for one in limited.seen("PATCH")].count("0") == 3
