"""Which proxy a request takes: HTTP_PROXY, HTTPS_PROXY and NO_PROXY as Go and curl read them; pure."""

from __future__ import annotations

import ipaddress
import urllib.parse
from typing import Optional, Union

from loader.bundle.errors import ConfigError
from loader.oci.environment import Environment
from loader.oci.messages import shown_url


def proxy_for(url: str, environment: Environment) -> Optional[str]:
    """Return the proxy's URL for ``url``, or ``None`` for a direct connection.

    A loopback address never takes a proxy (golang.org/x/net/http/httpproxy). ``ConfigError`` for a proxy we cannot use.
    """
    parts = urllib.parse.urlsplit(url)
    proxy = environment.https_proxy if parts.scheme == "https" else environment.http_proxy
    host = (parts.hostname or "").lower()
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if not proxy or _is_loopback(host) or _excluded(host, port, environment.no_proxy):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    try:
        named = urllib.parse.urlsplit(proxy)
        usable = named.scheme in {"http", "https"} and bool(named.hostname) and named.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(
            f"the proxy ({shown_url(proxy)}) cannot be used",
            why="it is http://HOST:PORT or https://HOST:PORT, with a login before HOST if need be",
        )
    return proxy


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _excluded(host: str, port: int, no_proxy: str) -> bool:
    return any(_covers(entry.strip().lower(), host, port) for entry in no_proxy.split(",") if entry.strip())


def _covers(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    address = _address(host)
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, colon, entry_port = entry.rpartition(":")
    if colon and entry_port.isdigit() and (":" not in name or name.endswith("]")):
        if int(entry_port) != port:
            return False
        entry = name
    entry = entry.strip("[]")
    if address is not None:
        return _address(entry) == address
    entry = entry[1:] if entry.startswith("*.") else entry
    return host.endswith(entry) if entry.startswith(".") else host == entry or host.endswith(f".{entry}")


def _address(text: str) -> Optional[Union[ipaddress.IPv4Address, ipaddress.IPv6Address]]:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
