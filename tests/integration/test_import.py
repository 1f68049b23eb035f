"""``airgap-bundler import`` from outside: what it writes is a config that builds."""

from __future__ import annotations

from pathlib import Path

from tests.support.cli import Cli
from tests.support.images import make_image
from tests.support.registry import RegistryServer

ISC = """\
apiVersion: mirror.openshift.io/v2alpha1
kind: ImageSetConfiguration
mirror:
  operators: [{catalog: registry.redhat.io/redhat/redhat-operator-index:v4.16}]
  additionalImages:
  - name: HOST/x/app:1
  - name: HOST/x/old:1
  blockedImages: [{name: x/old}]
"""


def test_what_it_writes_builds(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    with RegistryServer() as server:
        make_image().put(server.store, "x/app", "1")
        (tmp_path / "isc.yaml").write_text(ISC.replace("HOST", server.host))
        ran = cli.bundler("import", "isc.yaml", "--registry", "r.example", "--json").expect().json
        assert ran["images"] == [f"{server.host}/x/app:1"]
        assert [item["line"] for item in ran["unsupported"]] == [4]
        assert "mirror.operators" in (tmp_path / "bundle.yaml").read_text()
        cli.bundler("build", "bundle.yaml", "-o", "out", "--plain-http").expect()
        # It is a person's file from now on.
        assert "is there already" in cli.bundler("import", "isc.yaml").expect(2).three_lines[0]


def test_keys_that_are_not_there_are_told_with_their_lines(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    (tmp_path / "hauler.yaml").write_text(
        "apiVersion: content.hauler.cattle.io/v1\nkind: Images\nmetadata: {annotations: {hauler.dev/key: a.pub}}\n"
        "spec:\n  images:\n  - {name: quay.io/a/a:1}\n  - {name: quay.io/a/b:1}\n"
        "  - {name: quay.io/a/c:1, key: c.pub}\n"
    )
    lines = cli.bundler("import", "hauler.yaml").expect(2).three_lines
    assert [line.strip() for line in lines[2:4]] == [
        "hauler.yaml:6: key a.pub cannot be read: No such file or directory",
        "hauler.yaml:8: key c.pub cannot be read: No such file or directory",
    ]
    assert not (tmp_path / "bundle.yaml").exists()
