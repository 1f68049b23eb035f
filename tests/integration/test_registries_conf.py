"""Real skopeo reads the rendered registries.conf: what the files promise is what containers/image does."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from loader.bundle.manifest import Mirror
from loader.mirrors import drop_in, machine_config, machine_config_by_digest, render_mirrors
from tests.support.images import MadeImage, make_image
from tests.support.registry import RegistryServer

ALLOW, NEVER = "AllowContactingSource", "NeverContactSource"
# No name under .invalid is ever served (RFC 6761): what arrives came from the mirror.
SOURCE = "source.invalid"


@dataclass
class Site:
    """A registry in the airgap with one image, and skopeo with a registries.conf."""

    registry: RegistryServer
    image: MadeImage
    folder: Path

    def table(self, *, source: str = f"{SOURCE}/ceph", policy: str = ALLOW) -> list[Mirror]:
        return [Mirror(source, f"{self.registry.host}/lab/ceph", policy)]

    def pull(self, conf: str, reference: str, *, place: str = "registries.conf") -> subprocess.CompletedProcess[bytes]:
        program = shutil.which("skopeo")
        assert program is not None, "skopeo is missing: apt-get install skopeo"
        # A user's own folder stands in for /etc/containers: the same files, read by the same code.
        path = self.folder / ".config" / "containers" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(conf, encoding="ascii")
        return subprocess.run(
            [program, "inspect", "--raw", "--tls-verify=false", f"docker://{reference}"],
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
            capture_output=True,
            timeout=60,
        )

    def mirror_was_asked(self) -> bool:
        return bool(self.registry.seen("GET", r"/v2/lab/ceph/ceph/manifests/"))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with RegistryServer() as registry:
        image = make_image().put(registry.store, "lab/ceph/ceph", "v15.2.4")
        yield Site(registry, image, tmp_path)


@pytest.mark.parametrize("policy", [ALLOW, NEVER])
@pytest.mark.parametrize("kind", ["tag", "digest"])
def test_the_drop_in_serves_tags_and_digests(site: Site, policy: str, kind: str) -> None:
    conf = {item.name: item.content.decode() for item in render_mirrors(site.table(policy=policy), name="x")}
    reference = f"{SOURCE}/ceph/ceph" + (":v15.2.4" if kind == "tag" else f"@{site.image.digest}")
    done = site.pull(conf["registries.conf"], reference, place="registries.conf.d/50-airgap-x.conf")
    assert done.returncode == 0, done.stderr
    assert done.stdout == site.image.data


def test_never_contact_blocks_the_source(site: Site) -> None:
    done = site.pull(drop_in(site.table(policy=NEVER)), f"{SOURCE}/ceph/ceph:missing")
    assert done.returncode != 0
    assert b" is blocked in " in done.stderr
    assert b"no such host" not in done.stderr
    assert site.mirror_was_asked()


def test_other_images_of_the_host_are_left_alone(site: Site) -> None:
    assert site.pull(drop_in(site.table()), f"{SOURCE}/cephalopod/ceph:v15.2.4").returncode != 0
    assert site.registry.requests == []


def test_a_wildcard_source_is_read(site: Site) -> None:
    done = site.pull(drop_in(site.table(source="*.invalid")), f"{SOURCE}/ceph:v15.2.4")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("render", [machine_config, machine_config_by_digest])
def test_openshifts_own_files_serve_digests_alone(site: Site, render: object) -> None:
    assert callable(render)
    conf = render(site.table())
    assert site.pull(conf, f"{SOURCE}/ceph/ceph:v15.2.4").returncode != 0
    assert not site.mirror_was_asked()
    done = site.pull(conf, f"{SOURCE}/ceph/ceph@{site.image.digest}")
    assert done.returncode == 0, done.stderr
    assert done.stdout == site.image.data


def test_openshifts_file_with_a_tag_set_serves_both(site: Site) -> None:
    conf = machine_config(site.table(), tags=True)
    for reference in (f"{SOURCE}/ceph/ceph:v15.2.4", f"{SOURCE}/ceph/ceph@{site.image.digest}"):
        done = site.pull(conf, reference)
        assert done.returncode == 0, done.stderr


def test_a_bare_host_breaks_names_with_its_port(site: Site) -> None:
    """The trap that table_faults refuses, seen in the program itself."""
    conf = f'[[registry]]\nlocation = "{SOURCE}"\n[[registry.mirror]]\nlocation = "{site.registry.host}/lab"\n'
    done = site.pull(conf, f"{SOURCE}:5000/ceph/ceph:v15.2.4")
    assert done.returncode != 0
    assert b"invalid reference format" in done.stderr
