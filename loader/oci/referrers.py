"""Making a registry know what refers to what: by itself, or by the tag the distribution spec falls back to.

Spec 1.1, "Pushing Manifests with Subject": a registry without the referrers API gets an index of everything that
refers to a manifest under a tag made of the manifest's digest. What others put there stays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional

from loader.bundle.errors import RegistryError
from loader.bundle.ocimanifest import OCI_INDEX
from loader.oci.listing import MAX_REFERRERS, referring

if TYPE_CHECKING:
    from loader.oci.pushplan import PushManifest
    from loader.oci.registry import Registry


def fallback_tag(subject: str) -> str:
    """Return the tag under which registries without the API keep what refers to ``subject``."""
    return subject.replace(":", "-")


def subject_of(data: bytes) -> Optional[str]:
    """Return the digest that a manifest (already parsed as one) says it refers to."""
    subject = json.loads(data).get("subject")
    digest = subject.get("digest") if isinstance(subject, dict) else None
    return digest if isinstance(digest, str) else None


def link_referrers(registry: Registry, repository: str, subject: str, manifests: Sequence[PushManifest]) -> bool:
    """Make sure that ``manifests``, pushed by digest, are found from ``subject``; tell whether that took a tag."""
    listed = registry.referrers(repository, subject)
    lacking = [one for one in manifests if listed is None or one.digest not in listed]
    if not lacking:
        return False
    tag = fallback_tag(subject)
    data = _merged(_index_at(registry, repository, tag), lacking, f"{registry.host}/{repository}:{tag}")
    if data is not None:
        registry.put_manifest(repository, tag, data, OCI_INDEX)
        _confirm(registry, repository, tag, lacking)
    return data is not None


def descriptor(manifest: PushManifest) -> Mapping[str, Any]:
    """Describe a manifest as the spec wants it in such an index."""
    plain = json.loads(manifest.data)
    config = plain.get("config")
    kind = plain.get("artifactType") or (config.get("mediaType") if isinstance(config, dict) else None)
    made = {"mediaType": manifest.media_type, "digest": manifest.digest, "size": len(manifest.data)}
    if isinstance(kind, str) and kind:
        made["artifactType"] = kind
    if isinstance(plain.get("annotations"), dict):
        made["annotations"] = plain["annotations"]
    return made


def _index_at(registry: Registry, repository: str, tag: str) -> Optional[bytes]:
    try:
        return registry.manifest(repository, tag).data
    except RegistryError as error:
        if error.status == 404:
            return None
        raise


def _merged(there: Optional[bytes], manifests: Sequence[PushManifest], what: str) -> Optional[bytes]:
    """Return the index with ``manifests`` in it, None where it has them already."""
    plain: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    known: tuple[str, ...] = ()
    if there is not None:
        known = referring(there, what)
        plain = json.loads(there)
    new = [descriptor(one) for one in manifests if one.digest not in known]
    if not new:
        return None
    if len(known) + len(new) > MAX_REFERRERS:
        raise RegistryError(f"{what} is full", why=f"{len(known)} entries; at most {MAX_REFERRERS}")
    plain["manifests"] = [*(plain["manifests"] or []), *new]
    return json.dumps(plain, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def _confirm(registry: Registry, repository: str, tag: str, manifests: Sequence[PushManifest]) -> None:
    known = referring(registry.manifest(repository, tag).data, f"{registry.host}/{repository}:{tag}")
    missing = next((one.digest for one in manifests if one.digest not in known), None)
    if missing is not None:
        raise RegistryError(f"{registry.host}/{repository}:{tag} does not list {missing}", why="another one wrote it")
