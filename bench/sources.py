"""``python -m bench.sources``: the waiting before a build, in seconds.

Images found in 5,000 YAML documents; 500 images resolved from a registry behind a relay that makes every round trip
20 ms late; a plan of them from the lock, and one of as many with four platforms of ten layers each. The registry is
Debian's.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from loader.bundle.digest import digest_of
from loader.bundle.ocimanifest import OCI_INDEX, OCI_MANIFEST
from tests.support.programs import docker_registry
from tests.support.slowlink import relay

_DOCUMENTS, _IMAGES = 5_000, 500
_DELAY = 0.010  # one way
_DEPLOYMENT = """\
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: d{0}, namespace: a, labels: {{app: a, tier: b}}}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: a}}}}
  template:
    metadata: {{labels: {{app: a}}}}
    spec:
      containers:
      - name: c
        image: quay.io/x/app{0}:1
        args: ["--a=b", "--c"]
        env:
        - name: SIDE_IMAGE
          value: quay.io/x/side{0}:1
        ports: [{{containerPort: 80}}]
        resources: {{limits: {{cpu: 100m, memory: 10Mi}}}}
"""


class _Pusher:
    """Puts images of one tiny layer into a registry."""

    def __init__(self, host: str) -> None:
        self._connection = http.client.HTTPConnection(host)

    def push(self, repository: str) -> None:
        config, layer = json.dumps({"os": "linux", "architecture": "amd64", "n": repository}).encode(), b"layer"
        for blob in (config, layer):
            place = self._send("POST", f"/v2/{repository}/blobs/uploads/").partition("/v2/")[2]
            self._send("PUT", f"/v2/{place}&digest={digest_of(blob)}", blob, "application/octet-stream")
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
        }
        self._send("PUT", f"/v2/{repository}/manifests/1", json.dumps(manifest).encode(), OCI_MANIFEST)

    def _send(self, method: str, path: str, body: bytes = b"", kind: str = "text/plain") -> str:
        self._connection.request(method, path, body, {"Content-Type": kind})
        answer = self._connection.getresponse()
        answer.read()
        if answer.status not in {201, 202}:
            raise RuntimeError(f"{method} {path}: HTTP {answer.status}")
        return answer.getheader("Location", "")


def _descriptor(kind: str, data: bytes) -> dict[str, object]:
    return {"mediaType": kind, "digest": digest_of(data), "size": len(data)}


def _config(folder: Path, name: str, host: str, count: int) -> Path:
    path = folder / f"{name}.yaml"
    images = "".join(f"- {host}/x/app{number}:1\n" for number in range(count))
    path.write_text(f'name: s\nversion: "1"\nregistry: r.example\npaths: keep-host\nimages:\n{images}')
    return path


def _locked(folder: Path) -> Path:
    """Write a config and its lock, as a plan leaves them: four platforms of ten layers, three of them shared."""
    images = {}
    for number in range(_IMAGES):
        manifests = [_manifest(number, platform) for platform in ("amd64", "arm64", "ppc64le", "s390x")]
        children = [
            {**_descriptor(OCI_MANIFEST, data), "platform": {"os": "linux", "architecture": platform}}
            for data, platform in manifests
        ]
        index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}).encode()
        documents = {digest_of(data): data.decode() for data in (index, *(data for data, _ in manifests))}
        images[f"r.example/x/app{number}:1"] = {
            "attached": {digest: [] for digest in documents},
            "digest": digest_of(index),
            "documents": documents,
            "mediaType": OCI_INDEX,
            "platforms": [f"linux/{platform}" for _, platform in manifests],
            "resolved": "2026-01-01T00:00:00Z",
            "size": len(index),
        }
    path = _config(folder, "platforms", "r.example", _IMAGES)
    path.with_suffix(".lock").write_text(json.dumps({"formatVersion": 1, "images": images, "last": None}))
    return path


def _manifest(number: int, platform: str) -> tuple[bytes, str]:
    layers = [
        _descriptor("application/vnd.oci.image.layer.v1.tar+gzip", f"{platform} {layer} {group}".encode())
        for layer in range(10)
        for group in [number if layer > 2 else number % 20]
    ]
    config = _descriptor("application/vnd.oci.image.config.v1+json", f"{number} {platform}".encode())
    plain = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}
    return json.dumps(plain).encode(), platform


def _timed(title: str, *args: object) -> None:
    argv = [str(Path(sys.executable).with_name("airgap-bundler")), *map(str, args)]
    started, before = time.monotonic(), os.times()
    done = subprocess.run(argv, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    after = os.times()
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    own = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"{title:<60} {time.monotonic() - started:6.2f} s, processor {own:5.2f} s")


def main() -> None:
    """Measure and print a line for each."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        text = "".join(_DEPLOYMENT.format(number) for number in range(_DOCUMENTS))
        (folder / "manifests.yaml").write_text(text)
        _timed(f"find-images over {_DOCUMENTS} YAML documents", "find-images", folder / "manifests.yaml", "--json")
        with docker_registry(folder / "registry") as registry:
            pusher = _Pusher(registry.host)
            for number in range(_IMAGES):
                pusher.push(f"x/app{number}")
            with relay((), registry.host, _DELAY) as (late, _):
                many = _config(folder, "many", late, _IMAGES)
                _timed(f"{_IMAGES} images resolved at 20 ms", "plan", many, "--plain-http")
                _timed(f"plan of {_IMAGES} images from the lock", "plan", many, "--locked")
        _timed("the same, with four platforms of ten layers each", "plan", _locked(folder), "--locked")


if __name__ == "__main__":
    main()
