"""Write ``bundle.v1.json`` from the types of ``loader.bundle.manifest``; run by ``make schemas``.

The types say which fields there are; what a value may be stands in ``loader.bundle.rules``, whose
patterns are taken over here where a schema can say them.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import typing
from pathlib import Path
from typing import Any, Union

from loader.bundle import manifest as m
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
}


def bundle_schema() -> dict[str, Any]:
    """The schema of ``bundle.json``."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "bundle.json, version 1",
        "description": "The digest manifest of an airgap bundle, made from the loader's types by `make schemas`.",
        **_object(m.BundleManifest),
    }


def _object(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    properties = {}
    for field in dataclasses.fields(cls):
        schema = _value(hints[field.name])
        extra = STRINGS.get((cls, field.name), {})
        if "pattern" in extra:
            # ECMA's $ is the end; Python's also stands before a last line feed, hence the look-ahead.
            extra = {"pattern": f"^(?:{extra['pattern']})$(?!\\n)"}
        if "enum" in extra:
            schema = {}
        properties[json_name(field.name)] = {**schema, **extra}
    if cls is m.BundleManifest:
        properties["formatVersion"] = {"const": 1}
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }


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


def text() -> str:
    """The schema file's content."""
    return json.dumps(bundle_schema(), indent=2) + "\n"


if __name__ == "__main__":
    target = Path(__file__).with_name("bundle.v1.json")
    target.write_text(text())
    sys.stdout.write(f"{target.name}\n")
