from __future__ import annotations

import pytest

from loader.oci.messages import Request, error_codes, origin, printable, registry_words, shown_url


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"errors":[{"code":"DENIED","message":"no push"}]}', "DENIED no push"),
        (b'{"errors":[{"code":"A"},{"code":"B","detail":"why"}]}', "A; B (why)"),
        (b'{"errors":[{"code":"A","detail":{"x":1}}]}', "A"),
        (b'{"error":"invalid_grant","error_description":"expired"}', "invalid_grant expired"),
        (b'{"message":"limit"}', "limit"),
        (b"<html><title>502</title><body>Bad\n Gateway</body></html>", "502 Bad Gateway"),
        (b"\x1b[31mred\x00\xff", "[31mred"),
        (b"", ""),
        (b"[1]", "[1]"),
        (b'{"errors":{}}', '{"errors":{}}'),
        (b'{"errors":[5,null]}', '{"errors":[5,null]}'),
        (b"[" * 5000, "[" * 400 + "..."),
    ],
)
def test_the_other_sides_words_are_short_and_printable(body: bytes, words: str) -> None:
    assert registry_words(body) == words


def test_codes() -> None:
    assert error_codes(b'{"errors":[{"code":"BLOB_UNKNOWN"},{"message":"x"}]}') == ("BLOB_UNKNOWN", "")
    assert error_codes(b"<html>") == ()


def test_a_url_is_shown_without_secrets() -> None:
    assert shown_url("https://user:pw@cdn.example.com:8443/a/b?X-Signature=s#f") == "https://cdn.example.com:8443/a/b"
    assert "\n" not in shown_url("https://h/a\nb")
    assert shown_url("https://[broken") == "a URL that cannot be read"


def test_secrets_do_not_appear_in_a_request() -> None:
    assert "secret" not in repr(Request("GET", "https://h/", {"Authorization": "secret"}, b"secret"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://H.example/x", ("https", "h.example", 443)),
        ("http://h", ("http", "h", 80)),
        ("http://h:5000/", ("http", "h", 5000)),
        ("https://u@h/", ("https", "h", 443)),
    ],
)
def test_origin(url: str, expected: tuple[str, str, int]) -> None:
    assert origin(url) == expected


@pytest.mark.parametrize(
    "url", ["", "/x", "ftp://h/", "https:///x", "https://h:x/", "https://[::1", "file:///etc/passwd"]
)
def test_what_has_no_origin(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        origin(url)


def test_printable_cuts() -> None:
    assert printable("a\r\nb\tc") == "a b c"
    assert printable("x" * 10, 4) == "xxxx..."
