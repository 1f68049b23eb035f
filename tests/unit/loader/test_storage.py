from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from loader.bundle.digest import digest_of
from loader.bundle.errors import ConfigError, StorageError, TrustError
from loader.cluster.process import Finished
from loader.history import History
from loader.imports import ImportLog, read_imports
from loader.report import Report
from loader.signing import CryptographyCheck
from loader.storage import StoreOptions, StorePorts, store
from loader.vault import Vault
from tests.support.bundles import make_trust
from tests.support.refusals import refused
from tests.support.served import served

FACTS = {"host": "bastion", "loader": "airgap-loader", "loaderSha256": "0" * 64, "user": "root"}


@dataclass
class FakeSkopeo:
    """Asks the registry it is given for the manifest, and fails for the images that have ``fails`` in their name."""

    fails: str = "nothing"
    pulled: dict[str, str] = field(default_factory=dict)

    def __call__(self, argv: Sequence[str], *, stdin: bytes, timeout: float) -> Finished:
        source, target = argv[-2:]
        host, _, rest = source.removeprefix("docker://").partition("/")
        name, _, digest = rest.partition("@")
        with contextlib.closing(http.client.HTTPConnection(host, timeout=20)) as connection:
            connection.request("GET", f"/v2/{name}/manifests/{digest}")
            self.pulled[target] = digest_of(connection.getresponse().read())
        failed = self.fails in target
        return Finished(int(failed), b"", b"a line\nno space left on device\n" if failed else b"")


class NoMeter:
    """A meter that nobody looks at."""

    def __call__(self, size: int, /) -> None:
        return

    def item(self, name: str, done: int, size: int) -> None:
        return


def run(tmp_path: Path, skopeo: FakeSkopeo, target: str = "containers-storage:") -> list[str]:
    archive = tmp_path / "demo-1.tar.zst"
    archive.write_bytes(served().recipe.archive())
    ports = StorePorts(
        skopeo="/usr/bin/skopeo",
        run=skopeo,
        history=History(tmp_path / "state"),
        imports=ImportLog(tmp_path / "state"),
        report=Report(tmp_path, FACTS, Vault(tmp_path / "state")),
        verified=lambda _: None,
        say=lambda *_: None,
        note=lambda *_: None,
        trace=lambda _: None,
        progress=lambda *_: contextlib.nullcontext(NoMeter()),
        now=lambda: "2026-01-01T00:00:00Z",
    )
    return store(archive, make_trust(), StoreOptions(target), ports)


def test_each_image_by_its_digest_under_its_own_name(tmp_path: Path) -> None:
    skopeo = FakeSkopeo()
    target = "containers-storage:[vfs@/a+/b]"
    names = run(tmp_path, skopeo, target)
    assert skopeo.pulled == {
        f"{target}docker.io/ceph/ceph:v1": served().one.digest,
        f"{target}quay.io/ceph/ceph:v2": served().two.digest,
        f"{target}registry.local:5000/team/bare@{served().bare.digest}": served().bare.digest,
    }
    assert names == list(skopeo.pulled)


def test_one_that_fails_stops_no_other_and_is_named(tmp_path: Path) -> None:
    skopeo = FakeSkopeo(fails="docker.io")
    with pytest.raises(StorageError) as found:
        run(tmp_path, skopeo)
    assert "no space left on device" in found.value.why
    assert "docker.io/ceph/ceph:v1" in found.value.why
    assert len(skopeo.pulled) == 3
    report = json.loads((tmp_path / "demo-1.load.json").read_text())
    assert (report["state"], report["registry"]) == ("failed", "containers-storage:")
    assert [bool(image["error"]) for image in report["images"]] == [True, False, False]
    (kept,) = read_imports(tmp_path / "state", check=CryptographyCheck())
    assert kept.record is not None
    assert (kept.record.state, kept.record.verb, kept.fault) == ("failed", "push", "")


@pytest.mark.parametrize(
    "target", ["", "containers-storage", "docker-daemon:", "containers-storage:x", "containers-storage:[]"]
)
def test_other_places_are_not_known(tmp_path: Path, target: str) -> None:
    with pytest.raises(ConfigError):
        run(tmp_path, FakeSkopeo(), target)


def test_an_older_bundle_is_refused(tmp_path: Path) -> None:
    run(tmp_path, FakeSkopeo())
    archive = tmp_path / "demo-1.tar.zst"
    state = tmp_path / "state/sequences.json"
    state.write_text(state.read_text().replace('"sequence":7', '"sequence":8'))
    assert archive.exists()
    with refused(TrustError, "older than what was imported"):
        run(tmp_path, FakeSkopeo())
