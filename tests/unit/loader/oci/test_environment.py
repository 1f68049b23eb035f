from __future__ import annotations

from pathlib import Path

from loader.oci.environment import Environment

HOME = Path("/home/u")


def made(**environ: str) -> Environment:
    return Environment.from_mapping(environ, home=HOME, uid=7)


def test_places_come_from_the_mapping_alone() -> None:
    environment = made(HOME="/h", XDG_CONFIG_HOME="/x", REGISTRY_AUTH_FILE="/a", CONTAINERS_REGISTRIES_CONF="/c")
    assert environment.home == Path("/h")
    assert environment.containers_config == Path("/x/containers")
    assert (environment.registry_auth_file, environment.registries_conf) == (Path("/a"), Path("/c"))


def test_an_empty_variable_counts_as_unset() -> None:
    environment = made(HOME="", REGISTRY_AUTH_FILE="", XDG_CONFIG_HOME="")
    assert environment.home == HOME
    assert environment.registry_auth_file is None
    assert environment.containers_config == HOME / ".config/containers"


def test_lower_case_proxies_come_first() -> None:
    environment = made(HTTPS_PROXY="http://upper", https_proxy="http://lower", NO_PROXY="a", HTTP_PROXY="http://h")
    assert (environment.https_proxy, environment.http_proxy, environment.no_proxy) == ("http://lower", "http://h", "a")


def test_under_cgi_a_client_cannot_set_the_proxy() -> None:
    assert not made(HTTP_PROXY="http://attacker", REQUEST_METHOD="GET").http_proxy


def test_a_proxy_password_is_not_shown() -> None:
    assert "secret" not in repr(made(HTTPS_PROXY="http://user:secret@proxy:3128"))
