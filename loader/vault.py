"""What the state folder keeps of a load's reports: seals, and the Secrets that a report only names by their hash."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loader.bundle.errors import AirgapError, StorageError
from loader.bundle.strictjson import loads
from loader.durable import write_whole
from loader.signing import read_small_file

_HEX = re.compile(r"[0-9a-f]{64}")
MAX_SECRET = 2 * 2**20  # etcd takes no object over 1.5 MiB
_KEPT_SEALS = 2
_PLACE = 16  # hex digits of a folder's hash
_ELSEWHERE = "--state DIR names another folder"


class Vault:
    """Files of one hash each under ``directory``; nothing is written before the first ``keep`` or ``seal``."""

    def __init__(self, directory: Path) -> None:
        self._seals = directory / "reports"
        self._secrets = directory / "secrets"

    def keep(self, item: Mapping[str, Any]) -> str:
        """Store an object, readable by its owner alone, and return the SHA-256 it is found by."""
        data = json.dumps(item, sort_keys=True, separators=(",", ":")).encode()
        digest = hashlib.sha256(data).hexdigest()
        if not (self._secrets / digest).exists():
            write_whole(self._secrets / digest, data, mode=0o600, hint=_ELSEWHERE)
        return digest

    def kept(self, digest: str) -> dict[str, Any]:
        """Return the object with this SHA-256; ``StorageError`` where it is not here or no longer what it was."""
        path = self._secrets / digest
        if _HEX.fullmatch(digest) is None:
            raise StorageError("a Secret of the report cannot be found", why=f"{digest[:80]!a} is no SHA-256")
        data = read_small_file(path, MAX_SECRET)
        found = loads(data, str(path))
        if hashlib.sha256(data).hexdigest() != digest or not isinstance(found, dict):
            raise StorageError(f"{path} is not the Secret it was", why="its hash is another")
        return found

    def seal(self, identity: str, place: Path, data: bytes) -> None:
        """Note that ``data`` is a report of ours, just before it is written to ``place``.

        The one it replaces there stays known: between the two writes a kill may leave either on disk. So do those of
        the same ``identity`` in other places: a run from another folder makes no report of this one's untrue.
        """
        name = hashlib.sha256(str(place.absolute()).encode("utf-8", "surrogateescape")).hexdigest()[:_PLACE]
        path = self._seals / f"{_hashed(identity)}.{name}"
        digests = [hashlib.sha256(data).hexdigest(), *self._sealed(path)][:_KEPT_SEALS]
        write_whole(path, ("\n".join(digests) + "\n").encode(), mode=0o600, hint=_ELSEWHERE)

    def sealed(self, identity: str, data: bytes) -> bool:
        """Tell whether ``data`` is the last report of ``identity`` in any place that this state folder saw, unchanged.

        Where it is now does not count: people move and copy reports.
        """
        digest = hashlib.sha256(data).hexdigest()
        return any(digest in self._sealed(path) for path in self._seals.glob(f"{_hashed(identity)}*"))

    def _sealed(self, path: Path) -> list[str]:
        try:
            lines = read_small_file(path).decode("ascii", "replace").splitlines()
        except AirgapError:
            return []
        return [line for line in lines if _HEX.fullmatch(line)]


def _hashed(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()
