"""Types and schema give one corpus the same verdict, so an editor says what the program will say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from bundler.config import parse_config
from bundler.origin import TRANSPORTS
from bundler.render.mirrors import PATHS, SCOPES
from bundler.render.rook import ROLES
from loader.bundle import rules
from loader.bundle.errors import ConfigError
from loader.signing import new_key_pair

SCHEMA: dict[str, Any] = json.loads(
    (Path(__file__).resolve().parents[3] / "schemas" / "bundle-config.v1.json").read_text(encoding="utf-8")
)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
DIGEST = "sha256:" + "0" * 64

_, PUBLIC = new_key_pair()
BASE: dict[str, Any] = {"name": "a", "version": "1.0", "registry": "reg:5000", "images": ["quay.io/a/ceph:1"]}

GOOD: list[dict[str, Any]] = [
    {},
    {"sequence": 0, "notAfter": "2027-12-31T23:59:59Z", "platforms": "all", "paths": "keep-host"},
    {"registry": "Host.example/a/b__c", "images": ["busybox", f"a/b@{DIGEST}", "reg:5000/x:1", "localhost/x"]},
    {"images": [{"image": "a/b:1"}, {"image": "a/c", "from": "dir:x y"}, {"image": "a/d", "from": "docker://b/d"}]},
    *({"images": [{"image": "a", "from": f"{name}:x:1"}]} for name in TRANSPORTS),
    {"images": [{"image": "a", "platforms": ["linux/arm/v7", "linux/amd64"]}, {"fromDirs": "x/*", "platforms": "all"}]},
    {"platforms": ["linux/amd64"]},
    {"attachments": True},
    {"require": {"signatures": ["cosign.pub"]}},
    {"require": [{"images": "quay.io/a/*", "signatures": ["cosign.pub"]}]},
    {"require": {"images": ["*:1"], "signatures": ["file:cosign.pub"]}},
    {"images": [{"image": "a", "require": {"signatures": ["cosign.pub"]}, "attachments": True}]},
    {"mirrors": {}},
    {"mirrors": {"name": "a.b", "scope": "registry", "neverContactSource": True}},
    {"rook": {"version": "1.20.6", "from": ">=v1.19.0 <1.21.0"}},
    {"rook": {"version": "v1.16.0-beta.0", "operatorNamespace": "openshift-storage"}},
    {"rook": {"version": "v1.5.0", "images": dict.fromkeys(ROLES, "quay.io/a/ceph:1")}},
    {"manifests": []},
    {"manifests": [{"path": "a.yaml", "phase": "before-rook"}]},
    {"manifests": [{"path": "a.yaml", "phase": "after-rook", "pin": True}]},
]

BAD: list[dict[str, Any]] = [
    {"name": None},
    {"name": "A"},
    {"name": "a-"},
    {"version": 1.0},
    {"version": "-a"},
    {"sequence": -1},
    {"sequence": 2**53},
    {"sequence": "1"},
    {"sequence": True},
    {"notAfter": "2027-13-01T00:00:00Z"},
    {"notAfter": "2027-01-01"},
    {"registry": "https://reg"},
    {"registry": "reg/UP"},
    {"registry": "reg/"},
    {"platforms": []},
    {"platforms": ["amd64"]},
    {"platforms": ["linux/amd64/v1/x"]},
    {"platforms": [1]},
    {"platforms": "linux/amd64"},
    {"images": [{"image": "a", "platforms": "some"}]},
    {"attachments": "yes"},
    {"require": "cosign.pub"},
    {"require": {}},
    {"require": {"signatures": []}},
    {"require": {"signatures": "cosign.pub"}},
    {"require": {"signatures": [""]}},
    {"require": {"images": [], "signatures": ["cosign.pub"]}},
    {"images": [{"image": "a", "require": {"images": "a", "signatures": ["cosign.pub"]}}]},
    {"paths": "flat"},
    {"images": []},
    {"images": {}},
    {"images": [1]},
    {"images": ["a/UP"]},
    {"images": ["a:b:c"]},
    {"images": ["a@sha256:00"]},
    {"images": [{"from": "dir:x"}]},
    {"images": [{"image": "a", "form": "dir:x"}]},
    {"images": [{"image": "a", "from": "ostree:x"}]},
    {"images": [{"image": "a", "from": "oci:"}]},
    {"images": [{"image": "a", "from": "oci:x\ty"}]},
    {"images": [{"image": "a", "from": "dir:"}]},
    {"images": [{"fromDirs": "x/"}]},
    {"images": [{"fromDirs": "x*/y"}]},
    {"images": [{"fromDirs": 1}]},
    {"images": [{"fromDirs": "x/*", "image": "a"}]},
    {"mirrors": []},
    {"mirrors": {"name": "A"}},
    {"mirrors": {"scope": "host"}},
    {"mirrors": {"neverContactSource": "yes"}},
    {"mirrors": {"policy": "x"}},
    {"rook": {}},
    {"rook": {"version": 1.5}},
    {"rook": {"version": "master"}},
    {"rook": {"version": "v1.3.9"}},
    {"rook": {"version": "v1.5.0.1"}},
    {"rook": {"version": "v2.0.0"}},
    {"rook": {"version": "v1.5.0", "from": "any"}},
    {"rook": {"version": "v1.5.0", "operatorNamespace": "-"}},
    {"rook": {"version": "v1.5.0", "clusterNamespace": "A"}},
    {"rook": {"version": "v1.5.0", "cephCluster": 1}},
    {"rook": {"version": "v1.5.0", "images": {"osd": "a"}}},
    {"rook": {"version": "v1.5.0", "images": {"ceph": "A"}}},
    {"manifests": {}},
    {"manifests": [{"path": "a.yaml"}]},
    {"manifests": [{"path": "", "phase": "before-rook"}]},
    {"manifests": [{"path": "a.yaml", "phase": "rook"}]},
    {"manifests": [{"path": "a.yaml", "phase": "after-rook", "pin": "yes"}]},
    {"nmae": "a"},
]


def read(path: Path, _cap: int) -> bytes:
    if path.name == "names.txt":
        return b"d quay.io/a/d:1"
    if path.suffix == ".pub":
        return PUBLIC
    return b"apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n"


def verdicts(document: dict[str, Any]) -> tuple[bool, bool]:
    by_schema = VALIDATOR.is_valid(document)
    try:
        parse_config(
            yaml.safe_dump(document).encode(),
            directory=Path("/site"),
            what="bundle.yaml",
            read=read,
            folders=lambda _: ["d"],
        )
    except ConfigError:
        return by_schema, False
    return by_schema, True


@pytest.mark.parametrize("change", GOOD, ids=repr)
def test_both_accept(change: dict[str, Any]) -> None:
    assert verdicts({**BASE, **change}) == (True, True)


@pytest.mark.parametrize("change", BAD, ids=repr)
def test_both_refuse(change: dict[str, Any]) -> None:
    assert verdicts({**BASE, **change}) == (False, False)


@pytest.mark.parametrize("key", sorted(BASE))
def test_both_need(key: str) -> None:
    assert verdicts({name: value for name, value in BASE.items() if name != key}) == (False, False)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_schema_has_the_words_of_the_types() -> None:
    properties = SCHEMA["properties"]
    assert properties["paths"]["enum"] == list(PATHS)
    assert properties["mirrors"]["properties"]["scope"]["enum"] == list(SCOPES)
    assert list(properties["rook"]["properties"]["images"]["properties"]) == list(ROLES)
    assert properties["name"]["pattern"] == f"^{rules.NAME.pattern.replace('(?:', '(')}$"
    assert properties["version"]["pattern"] == f"^{rules.VERSION.pattern}$"
