"""What the machine-config operator rendered for a pool: registries.conf and logins out of a MachineConfig; pure."""

from __future__ import annotations

import base64
import binascii
import json
import urllib.parse
import zlib
from collections.abc import Mapping
from typing import Optional

from loader.bundle.errors import ClusterError
from loader.cluster.objects import JsonObject, field, objects_in, text

REGISTRIES_CONF = "/etc/containers/registries.conf"
KUBELET_AUTH = "/var/lib/kubelet/config.json"
# The operator refuses a rendered MachineConfig over 1.5 MiB; unpacked, a file of it stays well below this.
MAX_FILE = 16 * 2**20


def registries_conf(machine_config: JsonObject) -> str:
    """Return the text of registries.conf in ``machine_config``, empty where it has none.

    Raises ``ClusterError`` where it cannot be read.
    """
    return file_in(machine_config, REGISTRIES_CONF) or ""


def logins_in(machine_config: JsonObject) -> Optional[dict[str, object]]:
    """Return the ``auths`` that nodes pull with, None where this configuration does not tell. Never print them."""
    try:
        found = field(json.loads(file_in(machine_config, KUBELET_AUTH) or "null"), "auths")
    except (ValueError, RecursionError):
        return None
    return dict(found) if isinstance(found, Mapping) else None


def file_in(machine_config: JsonObject, path: str) -> Optional[str]:
    """Return the text of the file at ``path``, None where there is none.

    It is an Ignition data URL (RFC 2397), plain or base64, its content gzipped where ``compression`` says so
    (Ignition 3). The last entry of a path wins. Raises ``ClusterError`` where it cannot be read.
    """
    files = objects_in(machine_config, "spec", "config", "storage", "files")
    found = [item for item in files if item.get("path") == path]
    if not found:
        return None
    name = text(machine_config, "metadata", "name")
    try:
        data = _data_url(text(found[-1], "contents", "source"))
        if field(found[-1], "contents", "compression") == "gzip":
            data = _gunzipped(data)
        return data.decode("utf-8")
    except (ValueError, zlib.error) as error:
        raise ClusterError(
            f"MachineConfig/{name} cannot be read",
            why=f"{path} in it: {error}",
            hint=f"oc get machineconfig {name} -o yaml shows it",
        ) from error


def _data_url(url: str) -> bytes:
    head, comma, body = url.partition(",")
    if not comma or not head.startswith("data:"):
        raise ValueError("its source is not a data URL")
    raw = urllib.parse.unquote_to_bytes(body)
    if not head.endswith(";base64"):
        return raw
    try:
        return base64.b64decode(raw, validate=True)
    except binascii.Error as error:
        raise ValueError(f"base64: {error}") from error


def _gunzipped(data: bytes) -> bytes:
    decoder = zlib.decompressobj(wbits=31)
    result = decoder.decompress(data, MAX_FILE)
    if not decoder.eof:
        raise ValueError(f"gzip: truncated, or more than {MAX_FILE} bytes")
    return result
