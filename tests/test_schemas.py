"""Types and schemas must judge the same documents the same way."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from loader.bundle import manifest as m
from loader.bundle import strictjson
from loader.bundle.errors import FormatError
from loader.bundle.rules import check_manifest
from schemas import generate

SCHEMAS = Path(__file__).resolve().parent.parent / "schemas"
HEX = "0" * 64

GOOD: dict[str, Any] = {
    "attachments": [],
    "base": None,
    "builder": {"libzstd": None, "program": "airgap-bundler 0.1.0"},
    "complete": True,
    "created": "2026-01-31T00:00:00Z",
    "documents": [
        {
            "action": "apply",
            "otherwise": "skip",
            "path": "documents/mirrors/idms.yaml",
            "phase": "mirrors",
            "target": {
                "apiVersion": "config.openshift.io/v1",
                "kind": "ImageDigestMirrorSet",
                "name": "a",
                "namespace": None,
            },
            "wait": "pools",
            "when": {"api": None, "rook": None},
        }
    ],
    "files": [{"linkTo": None, "path": "documents/mirrors/idms.yaml", "sha256": HEX, "size": 3, "stored": "raw"}],
    "formatVersion": 1,
    "images": [
        {
            "digest": f"sha256:{HEX}",
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "omitted": [{"digest": f"sha256:{HEX}", "reason": "foreign"}],
            "path": "images/0000-ceph",
            "platforms": ["linux/amd64"],
            "repository": "ceph/ceph",
            "rewritten": None,
            "source": "docker.io/ceph/ceph",
            "tag": "v15.2.4",
        }
    ],
    "mirrors": [{"mirror": "r:5000/ceph", "policy": "AllowContactingSource", "source": "docker.io/ceph"}],
    "name": "rook-ceph",
    "notAfter": None,
    "payloadSize": 2048,
    "registry": "r:5000",
    "requires": [],
    "sequence": 3,
    "version": "2020.10",
}

Change = Callable[[dict[str, Any]], Any]
BAD: dict[str, Change] = {
    "unknown field": lambda d: d.update(extra=1),
    "missing field": lambda d: d.pop("notAfter"),
    "version 2": lambda d: d.update(formatVersion=2),
    "name with upper case": lambda d: d.update(name="Rook"),
    "name with a line feed": lambda d: d.update(name="rook\n"),
    "version that begins with a dot": lambda d: d.update(version=".1"),
    "sequence as text": lambda d: d.update(sequence="3"),
    "sequence below zero": lambda d: d.update(sequence=-1),
    "sequence above 2^53": lambda d: d.update(sequence=2**53),
    "complete as number": lambda d: d.update(complete=1),
    "time without Z": lambda d: d.update(created="2026-01-31T00:00:00"),
    "images not a list": lambda d: d.update(images={}),
    "tag as number": lambda d: d["images"][0].update(tag=1),
    "digest too short": lambda d: d["images"][0].update(digest="sha256:00"),
    "unknown phase": lambda d: d["documents"][0].update(phase="later"),
    "unknown action": lambda d: d["documents"][0].update(action="run"),
    "unknown policy": lambda d: d["mirrors"][0].update(policy="Never"),
    "stored as gzip": lambda d: d["files"][0].update(stored="gzip"),
    "target without name": lambda d: d["documents"][0]["target"].pop("name"),
    "builder as text": lambda d: d.update(builder="me"),
}


def types_accept(document: dict[str, Any]) -> bool:
    data = (json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n").encode()
    try:
        check_manifest(strictjson.decode(m.BundleManifest, data, "bundle.json"))
    except FormatError:
        return False
    return True


def schema_accepts(document: dict[str, Any]) -> bool:
    schema = json.loads((SCHEMAS / "bundle.v1.json").read_text())
    return jsonschema.Draft202012Validator(schema).is_valid(document)


@pytest.mark.parametrize("name", generate.FILES)
def test_the_schema_is_made_from_the_types(name: str) -> None:
    assert (SCHEMAS / name).read_text() == generate.text(generate.FILES[name]()), "run make schemas"


def test_a_good_document_passes_both() -> None:
    assert types_accept(GOOD)
    assert schema_accepts(GOOD)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_document_passes_neither(name: str) -> None:
    document = copy.deepcopy(GOOD)
    BAD[name](document)
    assert not types_accept(document)
    assert not schema_accepts(document)
