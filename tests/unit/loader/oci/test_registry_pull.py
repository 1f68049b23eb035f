from __future__ import annotations

import pytest

from loader.bundle import ocimanifest
from loader.bundle.digest import digest_of
from loader.bundle.errors import FormatError, RegistryError, TrustError
from loader.oci.http import USER_AGENT
from loader.oci.registry import Registry
from tests.support.clients import Client
from tests.support.images import make_image
from tests.support.registry import RegistryServer
from tests.support.registryrules import Rules

DATA = bytes(range(256)) * 1000
ABSENT = "sha256:" + "f" * 64


def test_ping_tells_what_answered(registry: Registry, server: RegistryServer) -> None:
    ping = registry.ping()
    assert (ping.scheme, ping.api_version, ping.authorized) == ("http", "registry/2.0", True)
    assert server.requests[0].headers["user-agent"] == USER_AGENT


def test_a_ping_that_asks_for_a_login_is_a_registry(registry: Registry, server: RegistryServer) -> None:
    server.rules.auth = "basic"
    assert not registry.ping().authorized


@pytest.mark.parametrize(
    ("kind", "status", "body", "says"),
    [
        ("html", 200, b"", "Please log in"),
        ("status", 404, b"not here", "not here"),
        ("status", 401, b"", "401"),
        ("status", 400, b"Client sent an HTTP request to an HTTPS server.", "HTTPS"),
    ],
)
def test_what_is_no_registry_is_refused(
    registry: Registry, server: RegistryServer, kind: str, status: int, body: bytes, says: str
) -> None:
    server.fail(kind, status=status, body=body)
    with pytest.raises(RegistryError) as caught:
        registry.ping()
    assert says in caught.value.why
    assert ("--plain-http" in caught.value.hint) is ("HTTPS" in says)


@pytest.mark.parametrize("oci_types", [False, True])
def test_manifest_by_tag_and_by_digest(registry: Registry, server: RegistryServer, oci_types: bool) -> None:
    image = make_image(oci_types=oci_types).put(server.store, "a/b", "v1")
    for reference in ("v1", image.digest):
        assert registry.manifest("a/b", reference) == (image.data, image.media_type, image.digest)
    child = image.manifests[0]
    assert registry.manifest("a/b", child[0]).data == child[2]
    assert ocimanifest.OCI_INDEX in server.seen("GET", "manifests")[0].headers["accept"]


def test_a_manifest_that_is_not_there(registry: Registry) -> None:
    with pytest.raises(RegistryError) as caught:
        registry.manifest("a/b", "v1")
    assert (caught.value.status, caught.value.retryable) == (404, False)
    assert "MANIFEST_UNKNOWN" in caught.value.why
    assert "a/b:v1" in caught.value.message


def test_other_bytes_under_a_digest_are_not_trusted(registry: Registry, server: RegistryServer) -> None:
    image = make_image().put(server.store, "a", "v1")
    other = make_image(name="other").put(server.store, "a")
    server.store.manifests["a", image.digest] = (other.data, other.media_type)
    with pytest.raises(TrustError, match="does not match its digest"):
        registry.manifest("a", image.digest)


def test_a_tag_whose_digest_header_lies_is_not_trusted(registry: Registry, server: RegistryServer) -> None:
    make_image().put(server.store, "a", "v1")
    server.fail("lie")
    with pytest.raises(TrustError, match="does not match"):
        registry.manifest("a", "v1")


def test_a_manifest_that_is_too_large_is_named(registry: Registry, server: RegistryServer) -> None:
    server.store.add_manifest("a", b" " * (ocimanifest.MAX_MANIFEST + 1), ocimanifest.OCI_INDEX, "v1")
    with pytest.raises(RegistryError, match=r"the manifest of .*/a:v1 is too large"):
        registry.manifest("a", "v1")


@pytest.mark.parametrize("body", [b'{"manifests": null}', b'{"manifests": []}'])
def test_a_list_of_nothing(registry: Registry, server: RegistryServer, body: bytes) -> None:
    """Go writes a list that nobody made as null."""
    headers = {"Content-Type": ocimanifest.OCI_INDEX}
    server.fail("status", path="/referrers/", status=200, body=body, headers=headers)
    assert registry.referrers("a", ABSENT) == ()


@pytest.mark.parametrize(
    ("data", "media_type", "error"),
    [
        (b"x" * (ocimanifest.MAX_MANIFEST + 1), ocimanifest.OCI_INDEX, RegistryError),
        (b"{", ocimanifest.OCI_INDEX, RegistryError),
        (b"\x1f\x8b\x08packed", ocimanifest.OCI_INDEX, RegistryError),
        (b"<html>", ocimanifest.OCI_INDEX, RegistryError),
        (b"{}", ocimanifest.OCI_INDEX, FormatError),
        (b'{"schemaVersion":1}', "application/vnd.docker.distribution.manifest.v1+prettyjws", FormatError),
        (b"<html>", "text/html; charset=utf-8", RegistryError),
    ],
)
def test_a_manifest_that_is_none_is_refused(
    registry: Registry, server: RegistryServer, data: bytes, media_type: str, error: type[Exception]
) -> None:
    server.store.add_manifest("a", data, media_type, "v1")
    with pytest.raises(error):
        registry.manifest("a", "v1")


def test_head_of_a_manifest(registry: Registry, server: RegistryServer) -> None:
    image = make_image().put(server.store, "a", "v1")
    assert registry.head_manifest("a", "v1") == (image.digest, image.media_type)
    assert registry.head_manifest("a", "v2") is None
    assert not server.seen("GET")


@pytest.mark.parametrize("rules", [Rules(digest_header=False), Rules(head_manifests=False)])
def test_head_falls_back_to_the_bytes(registry: Registry, server: RegistryServer, rules: Rules) -> None:
    server.rules = rules
    image = make_image().put(server.store, "a", "v1")
    assert registry.head_manifest("a", "v1") == (image.digest, image.media_type)
    assert registry.head_manifest("a", "v2") is None


def test_head_of_a_blob(registry: Registry, server: RegistryServer) -> None:
    digest = server.store.add_blob("a", DATA)
    assert registry.head_blob("a", digest, len(DATA))
    assert not registry.head_blob("a", digest, len(DATA) + 1)
    assert not registry.head_blob("b", digest, len(DATA))
    server.fail("lie", method="HEAD")
    assert not registry.head_blob("a", digest, len(DATA))


@pytest.mark.parametrize(
    ("start", "length", "asked"),
    [
        (0, None, None),
        (0, 1000, "bytes=0-999"),
        (5, None, f"bytes=5-{len(DATA) - 1}"),
        (100, 1, "bytes=100-100"),
        (len(DATA) - 1, 1, f"bytes={len(DATA) - 1}-{len(DATA) - 1}"),
    ],
)
@pytest.mark.parametrize("ranges", [True, False])
def test_parts_of_a_blob(
    registry: Registry, server: RegistryServer, start: int, length: int | None, asked: str | None, ranges: bool
) -> None:
    digest = server.store.add_blob("a", DATA)
    if not ranges:
        server.fail("no-range")
    with registry.open_blob("a", digest, len(DATA), start, length) as reader:
        buffer = memoryview(bytearray(300_000))
        filled = 0
        while count := reader.readinto(buffer[filled : filled + 7000]):
            filled += count
    assert buffer[:filled] == DATA[start:][:length]
    assert server.seen("GET")[0].headers.get("range") == asked


def test_a_server_that_gives_less_than_it_was_asked_for_is_asked_for_the_rest(
    registry: Registry, server: RegistryServer, client: Client
) -> None:
    digest = server.store.add_blob("a", DATA)
    server.fail("short", after=len(DATA) // 3, times=99)
    with registry.open_blob("a", digest, len(DATA), 5) as reader:
        assert b"".join(iter(lambda: reader.read(10_000), b"")) == DATA[5:]
    assert len(server.seen("GET")) == 3
    assert client.time.slept == []


def test_a_server_that_ignores_range_is_read_on_to_the_end(registry: Registry, server: RegistryServer) -> None:
    digest = server.store.add_blob("a", DATA)
    with registry.open_blob("a", digest, len(DATA), 0, 1000) as part:
        assert not part.take_whole()
    server.fail("no-range", path="blobs", times=1)
    before = len(server.requests)
    with registry.open_blob("a", digest, len(DATA), 0, 1000) as part:
        assert part.take_whole()
        assert b"".join(iter(lambda: part.read(100_000), b"")) == DATA
    assert len(server.requests) == before + 1


def test_an_empty_blob_and_an_empty_part(registry: Registry, server: RegistryServer) -> None:
    digest = server.store.add_blob("a", b"")
    with registry.open_blob("a", digest, 0) as reader:
        assert reader.read() == b""
    full = server.store.add_blob("a", DATA)
    with registry.open_blob("a", full, len(DATA), 9, 0) as reader:
        assert reader.read(5) == b""


@pytest.mark.parametrize(("start", "length"), [(-1, 5), (0, len(DATA) + 1), (len(DATA) + 1, None), (5, -1)])
def test_a_part_outside_is_our_bug(registry: Registry, start: int, length: int | None) -> None:
    with pytest.raises(RuntimeError):
        registry.open_blob("a", ABSENT, len(DATA), start, length)


@pytest.mark.parametrize("claimed", [len(DATA) - 1, len(DATA) + 1])
def test_a_blob_of_another_size_is_refused(registry: Registry, server: RegistryServer, claimed: int) -> None:
    digest = server.store.add_blob("a", DATA)
    for start in (0, 10):
        with (
            pytest.raises(RegistryError, match="came wrong"),
            registry.open_blob("a", digest, claimed, start) as reader,
        ):
            reader.read()


def test_a_broken_line_is_taken_up_where_it_broke(registry: Registry, server: RegistryServer, client: Client) -> None:
    digest = server.store.add_blob("a", DATA)
    server.fail("truncate", after=100_000)
    server.fail("truncate", after=50_000, path="blobs")
    received = b""
    with registry.open_blob("a", digest, len(DATA)) as reader:
        while data := reader.read(10_000):
            received += data
    assert received == DATA
    assert [one.headers.get("range", "").partition("-")[0] for one in server.seen("GET")] == [
        "",
        "bytes=100000",
        "bytes=150000",
    ]
    assert len(client.time.slept) == 2


def test_a_line_that_breaks_every_time_is_given_up(registry: Registry, server: RegistryServer, client: Client) -> None:
    digest = server.store.add_blob("a", DATA)
    server.fail("truncate", times=99, after=0)
    with pytest.raises(RegistryError) as caught, registry.open_blob("a", digest, len(DATA)) as reader:
        reader.read()
    assert caught.value.retryable
    assert len(server.seen("GET")) == 4


def test_a_content_length_beyond_the_bytes_is_refused(registry: Registry, server: RegistryServer) -> None:
    digest = server.store.add_blob("a", DATA)
    server.fail("length", times=99)
    with pytest.raises(RegistryError, match="Content-Length"):
        registry.open_blob("a", digest, len(DATA))


def test_a_body_without_length_is_counted(registry: Registry, server: RegistryServer) -> None:
    digest = server.store.add_blob("a", DATA)
    server.fail("unsized")
    with registry.open_blob("a", digest, len(DATA)) as reader:
        assert b"".join(iter(lambda: reader.read(10_000), b"")) == DATA
        assert reader.read(1) == b""


@pytest.mark.parametrize("start", [0, 5])
def test_too_many_bytes_are_refused(registry: Registry, server: RegistryServer, start: int) -> None:
    digest = server.store.add_blob("a", DATA)
    server.fail("endless")
    with registry.open_blob("a", digest, len(DATA), start) as reader:
        assert len(reader.read(len(DATA))) == len(DATA) - start
        with pytest.raises(RegistryError, match="too long"):
            reader.read(1)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (204, {}),
        (206, {}),
        (206, {"Content-Range": "bytes 0-9/10"}),
        (206, {"Content-Range": f"bytes 5-{len(DATA) - 2}/{len(DATA)}"}),
        (206, {"Content-Range": f"bytes 5-{len(DATA) - 1}/{len(DATA) + 1}"}),
    ],
)
def test_another_part_than_asked_for_is_refused(
    registry: Registry, server: RegistryServer, status: int, headers: dict[str, str]
) -> None:
    digest = server.store.add_blob("a", DATA)
    server.fail("status", status=status, headers=headers)
    with pytest.raises(RegistryError, match="came wrong"):
        registry.open_blob("a", digest, len(DATA), 5)


def test_reading_off_may_end_early_and_starts_again(registry: Registry, server: RegistryServer) -> None:
    digest = server.store.add_blob("a", DATA)
    server.fail("status", status=200, body=b"", headers={})
    with pytest.raises(RegistryError, match="came wrong"):
        registry.open_blob("a", digest, len(DATA), 5)


def test_an_error_page_that_breaks_off_is_still_an_answer(registry: Registry, server: RegistryServer) -> None:
    server.fail("status", status=404, headers={"Transfer-Encoding": "chunked"}, body=b"zz not a chunk")
    with pytest.raises(RegistryError) as caught:
        registry.manifest("a", "v1")
    assert caught.value.status == 404


def test_a_long_error_page_is_not_read_to_its_end(registry: Registry, server: RegistryServer) -> None:
    server.fail("status", status=404, body=b"x" * 3_000_000)
    with pytest.raises(RegistryError) as caught:
        registry.manifest("a", "v1")
    assert len(caught.value.why) < 1000
    assert registry.head_manifest("a", "v1") is None


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_head_that_is_refused_is_an_error(registry: Registry, server: RegistryServer, status: int) -> None:
    server.fail("status", method="HEAD", status=status, times=99)
    with pytest.raises(RegistryError, match="cannot ask for the manifest"):
        registry.head_manifest("a", "v1")
    with pytest.raises(RegistryError, match="cannot ask for blob"):
        registry.head_blob("a", ABSENT)


def test_wrong_bytes_are_for_the_reader_to_find(registry: Registry, server: RegistryServer) -> None:
    digest = server.store.add_blob("a", DATA)
    server.fail("corrupt")
    with registry.open_blob("a", digest, len(DATA)) as reader:
        assert digest_of(b"".join(iter(lambda: reader.read(65536), b""))) != digest


def test_connections_are_kept(registry: Registry, server: RegistryServer) -> None:
    digest = server.store.add_blob("a", DATA)
    for _ in range(5):
        with registry.open_blob("a", digest, len(DATA), 10, 500) as reader:
            assert len(reader.read(500)) == 500
            assert reader.read(1) == b""
        # A fetcher knows how much is due and never asks for more.
        for start, length in ((10, 500), (0, None)):
            with registry.open_blob("a", digest, len(DATA), start, length) as reader:
                assert len(reader.read(length or len(DATA))) == (length or len(DATA))
        registry.head_blob("a", digest)
        registry.head_manifest("a", "missing")
    assert server.connections == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_later_is_tried_again(registry: Registry, server: RegistryServer, client: Client, status: int) -> None:
    image = make_image().put(server.store, "a", "v1")
    server.fail("status", status=status, times=3)
    assert registry.manifest("a", "v1").digest == image.digest
    assert len(client.time.slept) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 501])
def test_an_answer_is_not_asked_for_again(
    registry: Registry, server: RegistryServer, client: Client, status: int
) -> None:
    server.fail("status", status=status, times=99)
    with pytest.raises(RegistryError) as caught:
        registry.manifest("a", "v1")
    assert (caught.value.status, client.time.slept) == (status, [])


def test_attempts_end_and_retry_after_is_honoured(registry: Registry, server: RegistryServer, client: Client) -> None:
    server.fail(
        "status", status=429, times=99, headers={"Retry-After": "7"}, body=b'{"errors":[{"code":"TOOMANYREQUESTS"}]}'
    )
    with pytest.raises(RegistryError) as caught:
        registry.manifest("a", "v1")
    assert client.time.slept == [7.0, 7.0, 7.0]
    assert "TOOMANYREQUESTS" in caught.value.why
    assert caught.value.retryable


@pytest.mark.parametrize("kind", ["reset", "junk"])
def test_a_connection_that_breaks_is_tried_again(registry: Registry, server: RegistryServer, kind: str) -> None:
    image = make_image().put(server.store, "a", "v1")
    server.fail(kind, times=2)
    assert registry.manifest("a", "v1").digest == image.digest


def test_a_server_that_says_nothing_times_out(server: RegistryServer, client: Client) -> None:
    client.options = type(client.options)(plain_http=True, timeout=0.1)
    server.fail("hang", times=99)
    with client.to(server) as registry, pytest.raises(RegistryError) as caught:
        registry.manifest("a", "v1")
    assert "timed out" in caught.value.why
    assert server.host in caught.value.message


def test_nobody_at_home(client: Client) -> None:
    with client.to("127.0.0.1:1") as registry, pytest.raises(RegistryError) as caught:
        registry.ping()
    assert (caught.value.status, caught.value.retryable) == (0, True)
    assert "127.0.0.1:1" in caught.value.message
    assert "refused" in caught.value.why


def test_a_blob_may_come_from_another_host(registry: Registry, server: RegistryServer) -> None:
    digest = server.store.add_blob("a", DATA)
    with RegistryServer(server.store) as cdn:
        server.rules.redirect_blobs_to = cdn.url
        with registry.open_blob("a", digest, len(DATA), 3, 9) as reader:
            assert reader.read() == DATA[3:12]
        assert cdn.seen("GET")[0].headers["range"] == "bytes=3-11"


def test_a_redirect_without_end_is_refused(registry: Registry, server: RegistryServer) -> None:
    digest = server.store.add_blob("a", DATA)
    server.fail("status", status=307, times=99, headers={"Location": "/v2/a/blobs/again"})
    with pytest.raises(RegistryError, match="without end"):
        registry.open_blob("a", digest, len(DATA))


@pytest.mark.parametrize("location", ["", "ftp://x/", "https://[", "http://"])
def test_a_redirect_to_nowhere_is_refused(registry: Registry, server: RegistryServer, location: str) -> None:
    server.fail("status", status=307, times=99, headers={"Location": location} if location else {})
    with pytest.raises(RegistryError):
        registry.open_blob("a", ABSENT, len(DATA))


def test_errors_of_a_redirect_do_not_show_its_signature(registry: Registry, server: RegistryServer) -> None:
    digest = server.store.add_blob("a", DATA)
    with RegistryServer(server.store) as cdn:
        server.rules.redirect_blobs_to = cdn.url
        cdn.fail("status", status=403, body=b"denied")
        with pytest.raises(RegistryError) as caught:
            registry.open_blob("a", digest, len(DATA))
    assert "very-secret" not in f"{caught.value} {caught.value.hint}"
    assert "denied" in caught.value.why
