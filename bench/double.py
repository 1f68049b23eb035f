"""A registry that holds nothing: it makes the bytes it serves as they are asked for, and drops what it is sent.

With it a source can have any size without taking a disk, and what is measured is the client. Uploads are counted, not
hashed; manifests are kept. ``python -m bench.double '{"images": 2, ...}'`` serves one until its standard input ends.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from io import BufferedReader
from itertools import count

_MIB = 2**20
_NOISE = random.Random("double").randbytes(_MIB)
_RANGE = re.compile(r"bytes=([0-9]+)-([0-9]+)")
_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs)/(?P<rest>[^?]*)(?:\?(?P<query>.*))?")
_TLS = b"\x16"
"""What a client that wants TLS begins with."""
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(frozen=True)
class Shape:
    """``images`` of ``layers`` each, ``layer_size`` bytes each: no two layers are the same."""

    images: int
    layers: int
    layer_size: int

    def names(self) -> list[str]:
        """The images' repositories; each has the tag ``1``."""
        return [f"scale/img-{number:04d}" for number in range(self.images)]


@dataclass(frozen=True)
class Layer:
    """Noise whose every MiB begins with who it is."""

    name: str
    size: int

    def parts(self, start: int, stop: int) -> Iterator[bytes | memoryview]:
        """Bytes ``start`` to ``stop``."""
        while start < stop:
            number, inner = divmod(start, _MIB)
            end = min(inner + stop - start, _MIB, self.size - number * _MIB)
            mark = f"{self.name}/{number};".encode()
            if inner < len(mark):
                yield mark[inner:end]
                inner = min(len(mark), end)
            yield memoryview(_NOISE)[inner:end]
            start = number * _MIB + end

    def digest(self) -> str:
        """Its SHA-256, as registries write it."""
        running = hashlib.sha256()
        for part in self.parts(0, self.size):
            running.update(part)
        return f"sha256:{running.hexdigest()}"


@lru_cache(maxsize=1)
def _layers_of(shape: Shape) -> dict[str, Layer]:
    layers = [Layer(f"{name}/{n}", shape.layer_size) for name in shape.names() for n in range(shape.layers)]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(pool.map(Layer.digest, layers), layers))


class Store:
    """What the double answers with: ``blobs`` are layers or texts, ``manifests`` by (repository, reference)."""

    def __init__(self, shape: Shape) -> None:
        self.sizes: dict[str, int] = {}
        self.uploads: dict[str, int] = {}
        self.sessions = count()
        self.texts: dict[str, bytes] = {}
        self.layers = _layers_of(shape)
        self.manifests: dict[tuple[str, str], bytes] = {}
        digests = iter(self.layers)
        for name in shape.names():
            self._add_image(name, [next(digests) for _ in range(shape.layers)], shape.layer_size)
        self.sizes.update({digest: layer.size for digest, layer in self.layers.items()})

    def _add_image(self, name: str, layers: list[str], size: int) -> None:
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": {"name": name}},
            "rootfs": {"type": "layers", "diff_ids": layers},
        }
        text = json.dumps(config).encode()
        digest = f"sha256:{hashlib.sha256(text).hexdigest()}"
        self.texts[digest] = text
        self.sizes[digest] = len(text)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": _CONFIG, "digest": digest, "size": len(text)},
            "layers": [{"mediaType": _LAYER, "digest": layer, "size": size} for layer in layers],
        }
        self.put(name, "1", json.dumps(manifest).encode())

    def put(self, name: str, reference: str, data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.manifests[name, reference] = self.manifests[name, digest] = data
        return digest


class _Connection:
    """One client: requests one after another, as HTTP/1.1 has them."""

    def __init__(self, store: Store, connection: socket.socket) -> None:
        self._store = store
        self._connection = connection
        self._reading = BufferedReader(socket.SocketIO(connection, "r"), 64 * 2**10)
        self._dropped = memoryview(bytearray(_MIB))

    def serve(self) -> None:
        with self._connection, self._reading:
            if self._reading.peek(1)[:1] == _TLS:
                # As servers in Go say it: clients that try TLS first go on without it only then.
                self._send(400, {"Connection": "close"}, b"plain http is spoken here\n")
                return
            while request := self._reading.readline():
                words = request.decode("latin-1").split(" ")
                self._answer(words[0], words[1], dict(self._headers()))

    def _headers(self) -> Iterator[tuple[str, str]]:
        while (line := self._reading.readline()) not in {b"\r\n", b""}:
            name, _, value = line.decode("latin-1").partition(":")
            yield name.lower(), value.strip()

    def _answer(self, method: str, target: str, headers: dict[str, str]) -> None:
        size = self._dropped_chunks() if "transfer-encoding" in headers else int(headers.get("content-length", 0))
        found = _PATH.fullmatch(target)
        if found is None:
            self._drop(size)
            self._send(200, {"Docker-Distribution-Api-Version": "registry/2.0"}, b"{}")
        elif found["kind"] == "manifests":
            self._manifest(method, found["name"], found["rest"], size)
        elif found["rest"].startswith("uploads"):
            if "transfer-encoding" not in headers:
                self._drop(size)
            self._upload(method, target, found["query"] or "", size)
        else:
            self._blob(method, found["rest"], headers.get("range", ""))

    def _manifest(self, method: str, name: str, reference: str, size: int) -> None:
        if method == "PUT":
            digest = self._store.put(name, reference, self._reading.read(size))
            self._send(201, {"Docker-Content-Digest": digest})
            return
        data = self._store.manifests.get((name, reference))
        if data is None:
            self._send(404, {}, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}', head=method == "HEAD")
            return
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self._send(200, {"Content-Type": MANIFEST, "Docker-Content-Digest": digest}, data, head=method == "HEAD")

    def _upload(self, method: str, target: str, query: str, size: int) -> None:
        session = target.partition("?")[0].rstrip("/")
        digest = re.search("digest=(sha256(?::|%3A)[0-9a-f]{64})", query)
        if method == "PUT" and digest is not None:
            self._store.sizes[digest[1].replace("%3A", ":")] = self._store.uploads.pop(session, 0) + size
            self._send(201, {})
        elif method == "DELETE":
            self._send(204, {})
        else:
            session = f"{session}/{next(self._store.sessions)}" if method == "POST" else session
            self._store.uploads[session] = self._store.uploads.get(session, 0) + size
            held = self._store.uploads[session]
            self._send(202, {"Location": session, "Range": f"0-{max(held - 1, 0)}", "Docker-Upload-UUID": "1"})

    def _blob(self, method: str, digest: str, asked: str) -> None:
        size = self._store.sizes.get(digest)
        if size is None:
            self._send(404, {}, b'{"errors":[{"code":"BLOB_UNKNOWN"}]}', head=method == "HEAD")
            return
        headers = {"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"}
        if method == "HEAD":
            self._begin(200, {**headers, "Content-Length": str(size)})
            return
        start, stop, status = 0, size, 200
        if part := _RANGE.fullmatch(asked):
            start, stop, status = int(part[1]), min(int(part[2]) + 1, size), 206
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        self._begin(status, {**headers, "Content-Length": str(stop - start)})
        if digest in self._store.texts:
            self._connection.sendall(self._store.texts[digest][start:stop])
            return
        for piece in self._store.layers[digest].parts(start, stop):
            self._connection.sendall(piece)

    def _dropped_chunks(self) -> int:
        total = 0
        while size := int(self._reading.readline(), 16):
            self._drop(size)
            self._reading.readline()
            total += size
        self._reading.readline()
        return total

    def _drop(self, size: int) -> None:
        while size > 0:
            size -= self._reading.readinto(self._dropped[: min(size, _MIB)]) or size

    def _send(self, status: int, headers: dict[str, str], body: bytes = b"", *, head: bool = False) -> None:
        self._begin(status, {**headers, "Content-Length": str(len(body))}, b"" if head else body)

    def _begin(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        lines = [f"HTTP/1.1 {status} Double", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self._connection.sendall("\r\n".join(lines).encode("latin-1") + body)


def main() -> None:
    """Serve the shape given as JSON on a free port, which is printed, until standard input ends."""
    store = Store(Shape(**json.loads(sys.argv[1])))
    listening = socket.create_server(("127.0.0.1", 0), backlog=64)
    threading.Thread(target=_accept, args=(store, listening), daemon=True).start()
    print(f"127.0.0.1:{listening.getsockname()[1]}", flush=True)
    sys.stdin.read()


def _accept(store: Store, listening: socket.socket) -> None:
    while True:
        connection, _ = listening.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_Connection(store, connection).serve, daemon=True).start()


def as_argument(shape: Shape) -> str:
    """The argument that makes :func:`main` serve ``shape``."""
    return json.dumps(asdict(shape))


if __name__ == "__main__":
    main()
