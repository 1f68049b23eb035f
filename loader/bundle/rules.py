"""What a well-formed ``bundle.json`` may say (step 4 of format.md section 2): values, names, caps, links.

Types and fields were checked by the strict decoder; here every value gets its rule. All raise
``FormatError`` naming the entry.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from typing import Optional

from loader.bundle import manifest as m
from loader.bundle.digest import is_digest, is_hex, sha256_hex
from loader.bundle.errors import FormatError
from loader.bundle.limits import BIG_MEMBER, MAX_DOCUMENT, MAX_MEMBER, MAX_MEMBERS
from loader.bundle.names import is_registry, is_repository, is_tag
from loader.bundle.tarlayout import NAME_FIELD, check_name

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIRECTORY = re.compile(r"images/[0-9]{4,6}-[a-z0-9-]{1,20}")
_KINDNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
_API_VERSION = re.compile(r"(?:[a-z0-9.-]{1,253}/)?v[a-z0-9]{1,30}")
_WAIT = frozenset({None, "pools", "rollout", "csi", "ceph"})
_MAX_TEXT = 512
EMPTY_SHA256 = sha256_hex(b"")


def check_manifest(manifest: m.BundleManifest) -> Mapping[str, m.File]:
    """Check every value of ``manifest`` and return its files by path."""
    _require(manifest.format_version == 1, "formatVersion", str(manifest.format_version), "this loader reads version 1")
    _match(NAME, manifest.name, "name")
    _match(VERSION, manifest.version, "version")
    check_time(manifest.created, "created")
    if manifest.not_after is not None:
        check_time(manifest.not_after, "notAfter")
    check_registry(manifest.registry, "registry")
    _check_base(manifest)
    files = _check_files(manifest.files)
    for index, image in enumerate(manifest.images):
        _check_image(image, f"images[{index}]")
    for index, attachment in enumerate(manifest.attachments):
        _check_attachment(attachment, f"attachments[{index}]")
    for index, mirror in enumerate(manifest.mirrors):
        _check_mirror(mirror, manifest.registry, f"mirrors[{index}]")
    _check_documents(manifest.documents, files)
    _check_targets(manifest)
    return files


def _require(ok: bool, where: str, value: str, rule: str) -> None:
    if not ok:
        raise FormatError(f"bundle.json {where} is not allowed: {value[:120]!a}", why=rule)


def _match(pattern: re.Pattern[str], value: str, where: str) -> None:
    _require(len(value) <= _MAX_TEXT and pattern.fullmatch(value) is not None, where, value, "it breaks its pattern")


def check_time(value: str, where: str) -> None:
    """Require ``YYYY-MM-DDTHH:MM:SSZ`` of a real moment."""
    try:
        parsed = datetime.datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ")  # noqa: DTZ007 - Z is UTC, no zone is kept
    except ValueError:
        parsed = None
    _require(parsed is not None and len(value) == 20, where, value, "times are UTC, YYYY-MM-DDTHH:MM:SSZ")


def check_registry(value: str, where: str) -> None:
    """Require ``host[:port][/prefix]``."""
    _require(is_registry(value), where, value, "a registry is host[:port][/prefix]")


def _check_repository(value: str, where: str) -> None:
    _require(is_repository(value), where, value, "it is no repository name")


def _check_tag(value: Optional[str], where: str) -> None:
    _require(value is None or is_tag(value), where, str(value), "it is no tag")


def _check_base(manifest: m.BundleManifest) -> None:
    base = manifest.base
    _require(base is None or is_hex(base), "base", str(base), "a bundle id is 64 hex digits")
    _require(manifest.complete == (base is None), "complete", str(manifest.complete), "false exactly for a delta")
    _require(not (manifest.complete and manifest.requires), "requires", "not empty", "a complete bundle needs nothing")
    seen = set()
    for index, item in enumerate(manifest.requires):
        where = f"requires[{index}]"
        _require(is_digest(item.digest) and item.digest not in seen, where, item.digest, "digests, each once")
        seen.add(item.digest)
        for repository in item.repositories:
            _check_repository(repository, where)


def _check_files(entries: tuple[m.File, ...]) -> dict[str, m.File]:
    _require(len(entries) <= MAX_MEMBERS, "files", str(len(entries)), f"at most {MAX_MEMBERS} members")
    files: dict[str, m.File] = {}
    for index, file in enumerate(entries):
        _check_file(file, f"files[{index}]", files)
        files[file.path] = file
    folders = {path[:cut] for path in files for cut in _slashes(path)}
    for path in files:
        _require(path not in folders, "files", path, "it is a file and a folder at once")
    return files


def _slashes(path: str) -> Iterable[int]:
    return [index for index, char in enumerate(path) if char == "/"]


def _check_file(file: m.File, where: str, before: Mapping[str, m.File]) -> None:
    check_name(file.path)
    _require(file.path.startswith(("documents/", "images/")), where, file.path, "members are documents or images")
    _require(file.path not in before, where, file.path, "a path occurs once")
    _require(is_hex(file.sha256) and file.size <= MAX_MEMBER, where, file.path, "size or sha256 out of range")
    _require((file.size == 0) == (file.sha256 == EMPTY_SHA256), where, file.path, "size and sha256 disagree")
    if file.link_to is None:
        allowed = m.STORED if file.size >= BIG_MEMBER else ("raw",)
        _require(file.stored in allowed, where, str(file.stored), f"stored is one of {', '.join(allowed)}")
        return
    _require(file.stored is None, where, str(file.stored), "a link is not stored")
    target = before.get(file.link_to)
    name = file.path.rpartition("/")[2]
    ok = (
        target is not None
        and target.link_to is None
        and (target.size, target.sha256) == (file.size, file.sha256)
        and len(file.link_to) <= NAME_FIELD
        and name == file.sha256
    )
    _require(ok, where, file.link_to, "a link is a blob that names an earlier file with the same content")


def _check_image(image: m.Image, where: str) -> None:
    _require(is_registry(image.source) and "/" in image.source, f"{where}.source", image.source, "host/repository")
    _check_tag(image.tag, f"{where}.tag")
    _require(is_digest(image.digest), f"{where}.digest", image.digest, "it is a digest")
    _check_repository(image.repository, f"{where}.repository")
    _match(_DIRECTORY, image.path, f"{where}.path")
    for item in image.omitted:
        _require(is_digest(item.digest), f"{where}.omitted", item.digest, "it is a digest")
    if image.rewritten is not None:
        _require(is_digest(image.rewritten), f"{where}.rewritten", image.rewritten, "it is a digest")


def _check_attachment(item: m.Attachment, where: str) -> None:
    for name, value in (("subject", item.subject), ("digest", item.digest)):
        _require(is_digest(value), f"{where}.{name}", value, "it is a digest")
    _match(_DIRECTORY, item.path, f"{where}.path")
    _check_repository(item.repository, f"{where}.repository")
    _check_tag(item.tag, f"{where}.tag")


def _check_mirror(row: m.Mirror, registry: str, where: str) -> None:
    source = row.source.removeprefix("*.")
    check_registry(source, f"{where}.source")
    check_registry(row.mirror, f"{where}.mirror")
    inside = row.mirror == registry or row.mirror.startswith(registry + "/")
    _require(inside, f"{where}.mirror", row.mirror, f"mirrors lie in {registry}")
    _require(row.policy in m.POLICIES, f"{where}.policy", row.policy, f"one of {', '.join(m.POLICIES)}")


def _check_documents(documents: tuple[m.Document, ...], files: Mapping[str, m.File]) -> None:
    seen = set()
    for index, document in enumerate(documents):
        where = f"documents[{index}]"
        file = files.get(document.path)
        ok = file is not None and file.size <= MAX_DOCUMENT and document.path.startswith("documents/")
        _require(ok and document.path not in seen, where, document.path, "each names one file of documents/, once")
        seen.add(document.path)
        _require(document.phase in m.PHASES, where, document.phase, f"phase is one of {', '.join(m.PHASES)}")
        _require(document.action in m.ACTIONS, where, document.action, f"action is one of {', '.join(m.ACTIONS)}")
        _require(document.otherwise in m.OTHERWISE, where, document.otherwise, "otherwise is skip or refuse")
        _require(document.wait in _WAIT, where, str(document.wait), "an unknown wait")
        if document.target is not None:
            _check_target(document.target, where)
        elif document.action.endswith("-patch"):
            _require(False, where, document.action, "a patch has a target")


def _check_target(target: m.Target, where: str) -> None:
    _match(_API_VERSION, target.api_version, f"{where}.target.apiVersion")
    for value in (target.kind, target.name, target.namespace):
        if value is not None:
            _match(_KINDNAME, value, f"{where}.target")


def _check_targets(manifest: m.BundleManifest) -> None:
    """No two images or attachments may claim one tag of one repository with different content."""
    seen: dict[tuple[str, str], str] = {}
    claims: tuple[m.Image | m.Attachment, ...] = (*manifest.images, *manifest.attachments)
    for claim in claims:
        if claim.tag is not None:
            other = seen.setdefault((claim.repository, claim.tag), claim.digest)
            where = f"{claim.repository}:{claim.tag}"
            _require(other == claim.digest, "images", where, "two images with different digests on one tag")
