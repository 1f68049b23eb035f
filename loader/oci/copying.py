"""A blob from one repository of a registry as the body of an upload to another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Callable

from loader.bundle.errors import RegistryError
from loader.oci.blobs import BlobReader
from loader.oci.hints import DAMAGED
from loader.oci.parallel import Stopped
from loader.oci.registry import Registry

_CHUNK = 2**20


@contextmanager
def copied_blob(
    registry: Registry, repository: str, digest: str, size: int, *, stopped: Callable[[], bool]
) -> Iterator[Iterator[memoryview]]:
    """Open a blob of ``repository``; its last bytes come only if all of it has ``digest``, else ``RegistryError``."""
    with registry.open_blob(repository, digest, size) as stream:
        yield _hashed(stream, digest, size, f"{registry.host}/{repository}", stopped)


def _hashed(
    stream: BlobReader, digest: str, size: int, where: str, stopped: Callable[[], bool]
) -> Iterator[memoryview]:
    running = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK))
    left = size
    while left:
        got = stream.readinto(buffer[: min(left, _CHUNK)])
        if stopped():
            raise Stopped("stopped because another transfer failed")
        running.update(buffer[:got])
        left -= got
        if not left and f"sha256:{running.hexdigest()}" != digest:
            raise RegistryError(
                f"{where} does not have blob {digest} as it should be",
                why=f"its bytes have the digest sha256:{running.hexdigest()}",
                hint=DAMAGED,
            )
        yield buffer[:got]
