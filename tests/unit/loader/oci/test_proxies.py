from __future__ import annotations

from pathlib import Path

import pytest

from loader.bundle.errors import ConfigError
from loader.oci.environment import Environment
from loader.oci.proxies import proxy_for


def chosen(url: str, no_proxy: str = "") -> str | None:
    environment = Environment(
        home=Path("/"), uid=0, http_proxy="http://plain:3128", https_proxy="secure:3129", no_proxy=no_proxy
    )
    return proxy_for(url, environment)


def test_the_scheme_decides() -> None:
    assert chosen("http://reg.example.com/v2/") == "http://plain:3128"
    assert chosen("https://reg.example.com/v2/") == "http://secure:3129"


@pytest.mark.parametrize(
    "url", ["http://localhost:5000/", "http://127.0.0.1/", "http://127.8.8.8/", "https://[::1]:5000/"]
)
def test_loopback_is_always_direct(url: str) -> None:
    assert chosen(url) is None


@pytest.mark.parametrize(
    ("entry", "direct"),
    [
        ("*", True),
        ("reg.example.com", True),
        ("REG.example.com", True),
        ("example.com", True),
        (".example.com", True),
        ("*.example.com", True),
        ("xample.com", False),
        ("example.com:5000", True),
        ("example.com:443", False),
        ("other.com, reg.example.com ,", True),
        ("10.0.0.0/8", False),
        ("", False),
    ],
)
def test_no_proxy_for_a_name(entry: str, direct: bool) -> None:
    assert (chosen("https://reg.example.com:5000/", entry) is None) is direct


@pytest.mark.parametrize(
    ("entry", "direct"),
    [
        ("10.0.0.0/8", True),
        ("10.1.2.3", True),
        ("10.1.2.3:443", True),
        ("10.1.2.3:80", False),
        ("10.1.2", False),
        ("11.0.0.0/8", False),
        ("10.0.0.0/99", False),
    ],
)
def test_no_proxy_for_an_address(entry: str, direct: bool) -> None:
    assert (chosen("https://10.1.2.3/", entry) is None) is direct


def test_no_proxy_for_ipv6() -> None:
    assert chosen("https://[fd00::5]/", "fd00::/8") is None
    assert chosen("https://[fd00::5]:5000/", "[fd00::5]:5000") is None
    assert chosen("https://[fd00::5]/", "fd00::6") is not None


def test_a_socks_proxy_is_refused_without_its_password() -> None:
    environment = Environment(home=Path("/"), uid=0, https_proxy="socks5://u:secret@proxy:1080")
    with pytest.raises(ConfigError) as caught:
        proxy_for("https://reg.example.com/", environment)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "proxy", ["http://[", "http://u:pw@[::1", "http://", "ftp://proxy", "http://p:99999", "socks5://p:1"]
)
def test_a_proxy_that_is_no_url_is_said(proxy: str) -> None:
    with pytest.raises(ConfigError, match="cannot be used") as caught:
        proxy_for("https://reg.example.com/", Environment(home=Path("/"), uid=0, https_proxy=proxy))
    assert "u:pw" not in f"{caught.value} {caught.value.hint}"
