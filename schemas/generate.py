"""Write the schemas of bundle, media set, load report and history from the loader's types; run by ``make schemas``.

The types say which fields there are; what a value may be stands in ``loader.bundle.rules``,
``loader.bundle.mediaset`` and ``loader.record``, whose patterns are taken over here where a schema can say them.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import typing
from pathlib import Path
from typing import Any, Union

from loader import imports as i
from loader import record as r
from loader.bundle import manifest as m
from loader.bundle import mediaset as s
from loader.bundle import rules
from loader.bundle.strictjson import MAX_INTEGER, json_name

_DIGEST = "sha256:[0-9a-f]{64}"
_HEX = "[0-9a-f]{64}"
_TIME = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"

# What a string may be, by type and field.
STRINGS: dict[tuple[type, str], dict[str, Any]] = {
    (m.BundleManifest, "name"): {"pattern": rules.NAME.pattern},
    (m.BundleManifest, "version"): {"pattern": rules.VERSION.pattern},
    (m.BundleManifest, "created"): {"pattern": _TIME},
    (m.BundleManifest, "not_after"): {"pattern": _TIME},
    (m.BundleManifest, "base"): {"pattern": _HEX},
    (m.Image, "digest"): {"pattern": _DIGEST},
    (m.Image, "rewritten"): {"pattern": _DIGEST},
    (m.Omitted, "digest"): {"pattern": _DIGEST},
    (m.Attachment, "digest"): {"pattern": _DIGEST},
    (m.Attachment, "subject"): {"pattern": _DIGEST},
    (m.Require, "digest"): {"pattern": _DIGEST},
    (m.File, "sha256"): {"pattern": _HEX},
    (m.File, "stored"): {"enum": [*m.STORED, None]},
    (m.Document, "phase"): {"enum": list(m.PHASES)},
    (m.Document, "action"): {"enum": list(m.ACTIONS)},
    (m.Document, "otherwise"): {"enum": list(m.OTHERWISE)},
    (m.Mirror, "policy"): {"enum": list(m.POLICIES)},
    (s.MediaSet, "set_id"): {"pattern": _HEX},
    (s.SetBundle, "id"): {"pattern": _HEX},
    (s.SetBundle, "name"): {"pattern": rules.NAME.pattern},
    (s.SetBundle, "version"): {"pattern": rules.VERSION.pattern},
    (s.SetArchive, "sha256"): {"pattern": _HEX},
    (s.Volume, "name"): {"pattern": "[vp][0-9]{2}"},
    (s.Segment, "sha256"): {"pattern": _HEX},
    (s.SetFile, "sha256"): {"pattern": _HEX},
    (i.ImportRecord, "bundle"): {"pattern": _HEX},
    (i.ImportRecord, "created"): {"pattern": _TIME},
    (i.ImportRecord, "finished"): {"pattern": _TIME},
    (i.ImportRecord, "loader_sha256"): {"pattern": _HEX},
    (i.ImportRecord, "name"): {"pattern": rules.NAME.pattern},
    (i.ImportRecord, "started"): {"pattern": _TIME},
    (i.ImportRecord, "state"): {"enum": list(r.STATES)},
    (i.ImportRecord, "verb"): {"enum": ["load", "push", "apply"]},
    (i.ImportSigner, "fingerprint"): {"pattern": _DIGEST},
    (i.ImportPolicy, "sha256"): {"pattern": _HEX},
    (r.Record, "state"): {"enum": list(r.STATES)},
    (r.ArchiveRow, "sha256"): {"pattern": _HEX},
    (r.Record, "loader_sha256"): {"pattern": _HEX},
    (r.Record, "started"): {"pattern": _TIME},
    (r.Record, "finished"): {"pattern": _TIME},
    (r.BundleRow, "id"): {"pattern": _HEX},
    (r.BundleRow, "created"): {"pattern": _TIME},
    (r.ImageRow, "digest"): {"pattern": _DIGEST},
    (r.ObjectRow, "action"): {"enum": list(r.ACTIONS)},
    (r.WaitRow, "state"): {"enum": list(r.ENDS)},
    (r.RunRow, "state"): {"enum": list(r.STATES)},
    (r.RunRow, "loader_sha256"): {"pattern": _HEX},
    (r.RunRow, "started"): {"pattern": _TIME},
    (r.RunRow, "finished"): {"pattern": _TIME},
}
# What a type has beside its fields: objects as the API server gives them, of any shape.
_STATE = {"type": ["object", "null"]}
FREE: dict[type, dict[str, Any]] = {r.ObjectRow: {"after": _STATE, "before": _STATE}}
# What documents of earlier loaders do not have.
LATER: dict[type, frozenset[str]] = {r.ClusterRow: frozenset({"uid"})}
# What a number must be, by type and field.
NUMBERS: dict[tuple[type, str], dict[str, Any]] = {
    (m.BundleManifest, "format_version"): {"const": 1},
    (s.MediaSet, "format_version"): {"const": 1},
    (r.Record, "format_version"): {"const": 1},
    (i.ImportRecord, "format_version"): {"const": 1},
    (s.MediaSet, "chunk_size"): {"const": s.CHUNK},
    (s.MediaSet, "k"): {"type": "integer", "minimum": 1, "maximum": s.MAX_DATA},
    (s.MediaSet, "m"): {"type": "integer", "minimum": 0, "maximum": s.MAX_PARITY},
    (s.Segment, "size"): {"type": "integer", "minimum": 1, "maximum": s.MAX_SEGMENT},
}


def bundle_schema() -> dict[str, Any]:
    """The schema of ``bundle.json``."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "bundle.json, version 1",
        "description": "The digest manifest of an airgap bundle, made from the loader's types by `make schemas`.",
        **_object(m.BundleManifest),
    }


def media_set_schema() -> dict[str, Any]:
    """The schema of ``set.json``."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "set.json, version 1",
        "description": "What a media set is made of, made from the loader's types by `make schemas`.",
        **_object(s.MediaSet),
    }


def load_report_schema() -> dict[str, Any]:
    """The schema of ``NAME-VERSION.load.json``."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "NAME-VERSION.load.json, version 1",
        "description": "What a load did and found before it, made from the loader's types by `make schemas`.",
        **_object(r.Record),
    }


def import_schema() -> dict[str, Any]:
    """The schema of ``import.json``."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "import.json, version 1",
        "description": "One load in the state folder's history, made from the loader's types by `make schemas`.",
        **_object(i.ImportRecord),
    }


def verify_report_schema() -> dict[str, Any]:
    """The schema of ``NAME-VERSION.verify.json``: parts of the manifest as they are, and what was found."""
    manifest = _object(m.BundleManifest)["properties"]
    same = ("base", "complete", "created", "name", "notAfter", "registry", "sequence", "version")
    lists = {"attachments": m.Attachment, "documents": m.Document, "mirrors": m.Mirror, "requires": m.Require}
    image = _object(m.Image)
    weighed = {**image["properties"], "own": _COUNT, "size": _COUNT}
    properties = {
        **{name: manifest[name] for name in same},
        **{name: {"type": "array", "items": _object(cls)} for name, cls in lists.items()},
        "builder": _TEXT,
        "checkedAt": _text(_TIME),
        "checks": _list(_closed({"check": _TEXT, "result": _TEXT})),
        "files": _COUNT,
        "formatVersion": {"const": 1},
        "healable": {"type": ["boolean", "null"]},
        "id": _text(_HEX),
        "images": _list(_closed(weighed)),
        "media": {**_closed(_MEDIA), "type": ["object", "null"]},
        "notChecked": _list(_TEXT),
        "replay": _TEXT,
        "shared": _list(_closed({"digest": _text(_DIGEST), "images": _list(_TEXT), "size": _COUNT})),
        "signers": _list(_closed({"algorithm": _TEXT, "fingerprint": _text(_DIGEST), "label": _TEXT, "name": _TEXT})),
        "size": _COUNT,
        "threshold": {"type": "integer", "minimum": 1},
        "verified": {"const": True},
        "warnings": _list(_TEXT),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "NAME-VERSION.verify.json, version 1",
        "description": "What `verify` checked and found; it exists only for a bundle that passed.",
        **_closed(properties),
    }


def refusal_schema() -> dict[str, Any]:
    """The schema of ``NAME.refused.json``: all in it comes from this host, not from what was refused, but ``error``."""
    properties = {
        "checkedAt": _text(_TIME),
        "error": _closed({"code": {"enum": [3, 4, 5]}, "hint": _TEXT, "message": _TEXT, "why": _TEXT}),
        "formatVersion": {"const": 1},
        "host": _TEXT,
        "keysTried": _list(_closed({"fingerprint": _text(_DIGEST), "name": _TEXT})),
        "loader": _TEXT,
        "loaderSha256": _text(_HEX),
        "policySha256": {**_text(_HEX), "type": ["string", "null"]},
        "sources": _list(_TEXT),
        "user": _TEXT,
        "verified": {"const": False},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "NAME.refused.json, version 1",
        "description": "What `verify --report` leaves of a bundle that it refused.",
        **_closed(properties),
    }


_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0, "maximum": MAX_INTEGER}


def _text(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^(?:{pattern})$(?!\\n)"}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }


_DISC = {"badChunks": _list(_COUNT), "chunks": _COUNT, "fromParity": _COUNT, "here": {"type": "boolean"}, "name": _TEXT}
_MEDIA = {"discs": _list(_closed(_DISC)), "notes": _list(_TEXT), "setId": _text(_HEX)}


def _object(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    properties = {}
    for field in dataclasses.fields(cls):
        schema = _value(hints[field.name])
        extra = STRINGS.get((cls, field.name), {})
        if "pattern" in extra:
            # ECMA's $ is the end; Python's also stands before a last line feed, hence the look-ahead.
            extra = _text(extra["pattern"])
            extra.pop("type")
        if "enum" in extra:
            schema = {}
        properties[json_name(field.name)] = NUMBERS.get((cls, field.name)) or {**schema, **extra}
    properties.update(FREE.get(cls, {}))
    schema = _closed(properties)
    return {**schema, "required": [name for name in schema["required"] if name not in LATER.get(cls, ())]}


def _value(hint: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _object(hint)
    origin = typing.get_origin(hint)
    if origin is tuple:
        return {"type": "array", "items": _value(typing.get_args(hint)[0])}
    if origin is Union:
        schema = _value(next(arg for arg in typing.get_args(hint) if arg is not type(None)))
        return {**schema, "type": [schema["type"], "null"]}
    if hint is str:
        return {"type": "string"}
    if hint is bool:
        return {"type": "boolean"}
    return {"type": "integer", "minimum": 0, "maximum": MAX_INTEGER}


def text(schema: dict[str, Any]) -> str:
    """A schema file's content."""
    return json.dumps(schema, indent=2) + "\n"


FILES = {
    "bundle.v1.json": bundle_schema,
    "media-set.v1.json": media_set_schema,
    "load-report.v1.json": load_report_schema,
    "import.v1.json": import_schema,
    "verify-report.v1.json": verify_report_schema,
    "refusal.v1.json": refusal_schema,
}

if __name__ == "__main__":
    for name, make in FILES.items():
        Path(__file__).with_name(name).write_text(text(make()))
        sys.stdout.write(f"{name}\n")
