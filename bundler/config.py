"""The build's config: its types, and ``bundle.yaml`` read into them (cli.md, "The config").

Every fault is listed at once with its YAML path and line. :mod:`bundler.settings` reads one value,
:mod:`bundler.render.rook` knows Rook's rules.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Optional

from bundler.imagelist import ConfigImage, ListRules, names, read_images
from bundler.origin import ListFolders, list_folders
from bundler.platforms import read_platforms
from bundler.render.manifests import CAPS as MANIFEST_CAPS
from bundler.render.manifests import manifest_list
from bundler.render.mirrors import PATHS, SCOPES
from bundler.render.rook import (
    ROLES,
    RookConfig,
    default_range,
    normal_version,
    range_problem,
    version_problem,
)
from bundler.requirements import ReadFile, read_requirements, report_unused
from bundler.settings import Faults, Value
from bundler.yamlpos import Caps, parse
from loader.bundle.errors import ConfigError
from loader.bundle.rules import NAME, VERSION
from loader.bundle.strictjson import MAX_INTEGER
from loader.mirrors import NO_DOMAIN, NO_DOMAIN_HINT, is_location, is_mirror, is_object_name
from loader.oci.model import ImageRef, RegistryTarget
from loader.oci.platforms import is_platform

# A config of 1 MiB names about 10,000 images.
CAPS = Caps(size=1 << 20, depth=16, nodes=50_000)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LABEL_WORDS = "1 to 63 of a-z, 0-9 and - inside"
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")

_TIME_FORM = "a UTC time such as 2027-01-01T00:00:00Z"
_MANIFEST_PHASES = ("before-rook", "after-rook")


@dataclass(frozen=True)
class MirrorConfig:
    """How mirrors are written: the objects' name, the width of their sources, and whether sources may be asked.

    ``tags``: pulls by tag are mirrored too, which drains every node once.
    """

    name: str
    scope: str = "namespace"
    never_contact_source: bool = False
    tags: bool = False


@dataclass(frozen=True)
class ManifestFile:
    """A file of cluster objects as the config names it, and its objects as a JSON ``List``.

    ``pin``: images of the bundle are written as ``name@digest``.
    """

    path: str
    phase: str
    content: bytes
    pin: bool = False


@dataclass(frozen=True)
class BuildConfig:
    """A whole ``bundle.yaml``; ``sequence`` and ``not_after`` are None where it says nothing.

    ``platforms`` is empty for all of them.
    """

    name: str
    version: str
    sequence: Optional[int]
    not_after: Optional[str]
    registry: str
    platforms: tuple[str, ...]
    paths: str
    images: tuple[ConfigImage, ...]
    mirrors: MirrorConfig
    rook: Optional[RookConfig]
    manifests: tuple[ManifestFile, ...]
    attachments: bool = True


def load_config(path: Path) -> BuildConfig:
    """Read the config at ``path`` and the manifests it names, relative to its directory.

    Raises ``ConfigError`` with every fault as (``images[2].from (line 14)``, problem), sorted by line.
    """
    return parse_config(read_file(path, CAPS.size), directory=path.parent, what=str(path), read=read_file)


def narrowed(config: BuildConfig, platforms: Sequence[str], *, rewrite: bool) -> BuildConfig:
    """Return ``config`` with every image at ``platforms`` alone (as it says itself if that is empty).

    ``rewrite``: indexes that lose children are replaced. Raises ``ConfigError`` for what is no platform.
    """
    for text in platforms:
        if not is_platform(text):
            raise ConfigError(
                f"--platform {text[:80]!a} is not os/architecture[/variant]",
                why="platforms are written as Go and OCI write them",
                hint="such as linux/arm/v7",
            )
    images = tuple(
        replace(image, platforms=tuple(platforms) or image.platforms, rewrite=rewrite) for image in config.images
    )
    return replace(config, platforms=tuple(platforms) or config.platforms, images=images)


def read_file(path: Path, cap: int) -> bytes:
    """Return the bytes of a regular file, at most one more than ``cap``. Raises ``ConfigError``."""
    try:
        # O_NONBLOCK: opening a named pipe would wait for a writer.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise ConfigError(f"{path} cannot be read", why="not a regular file")
            return stream.read(cap + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", why=error.strerror or str(error)) from error
    except ValueError as error:
        raise ConfigError(f"{str(path)!a} cannot be read", why=str(error)) from error


def parse_config(
    data: bytes, *, directory: Path, what: str, read: ReadFile, folders: ListFolders = list_folders
) -> BuildConfig:
    """Read a config from its bytes; ``what`` names it in errors.

    ``read`` gives the files it points to, ``folders`` lists the ones a pattern matches.
    """
    faults = Faults()
    parsed = parse(data, CAPS)
    faults.add_all(parsed.faults)
    if len(parsed.documents) > 1:
        faults.add(parsed.documents[1].line, "", "a config is one YAML document, not several")
    config = None
    if parsed.documents:
        config = _config(Value(parsed.documents[0], "", faults), directory, (read, folders))
    elif not parsed.faults:
        faults.add(1, "", "the file is empty")
    if faults.found or config is None:
        count = len(faults.found)
        raise ConfigError(
            f"{what} has {count} fault{'' if count == 1 else 's'}",
            faults=faults.listed(),
            hint="correct the lines named and run the same command again",
        )
    return config


def _config(root: Value, directory: Path, ports: tuple[ReadFile, ListFolders]) -> Optional[BuildConfig]:
    """Read every field, so that every fault is found; None after any."""
    known = [field for field in BuildConfig.__dataclass_fields__ if field != "not_after"]
    top = root.section([*known, "notAfter", "require"], required=("name", "version", "registry", "images"))
    name = _form(top, "name", NAME, "1 to 48 of a-z, 0-9 and - inside")
    version = _form(top, "version", VERSION, "1 to 64 of letters, digits and . _ - inside")
    sequence = top["sequence"].integer(MAX_INTEGER) if "sequence" in top else None
    not_after = top["notAfter"].matching(_is_time, _TIME_FORM) if "notAfter" in top else None
    registry = _registry(top["registry"]) if "registry" in top else None
    platforms = read_platforms(top["platforms"]) if "platforms" in top else ()
    paths = (top["paths"].choice(PATHS) if "paths" in top else None) or PATHS[0]
    attachments = "attachments" not in top or top["attachments"].boolean() is not False
    read = ports[0]
    require = read_requirements(top["require"], directory, read) if "require" in top else ()
    rules = ListRules(directory, paths == "keep-host", registry, platforms, attachments, require, *ports)
    images = read_images(top["images"], rules) if "images" in top else ()
    if "require" in top:
        report_unused(top["require"], require, [image.name for image in images])
    mirrors = _mirrors(top.get("mirrors"), name)
    rook = _rook(top["rook"], images) if "rook" in top else None
    manifests = _manifests(top["manifests"], directory, read) if "manifests" in top else ()
    if root.faults.found or name is None or version is None or registry is None:
        return None
    return BuildConfig(
        name=name,
        version=version,
        sequence=sequence,
        not_after=not_after,
        registry=str(registry),
        platforms=platforms,
        paths=paths,
        images=images,
        mirrors=mirrors,
        rook=rook,
        manifests=manifests,
        attachments=attachments,
    )


def _form(section: Mapping[str, Value], key: str, pattern: re.Pattern[str], form: str) -> Optional[str]:
    if key not in section:
        return None
    return section[key].matching(lambda text: pattern.fullmatch(text) is not None, form)


def _is_time(text: str) -> bool:
    if _TIME.fullmatch(text) is None:
        return False
    try:
        datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")
    except ValueError:
        return False
    return True


def _registry(value: Value) -> Optional[RegistryTarget]:
    target = value.parsed(RegistryTarget.parse)
    if target is not None and not is_location(str(target)):
        value.fault("is an address that OpenShift's mirror objects cannot name; use a host name")
    elif target is not None and not is_mirror(str(target)):
        value.fault(f"cannot be a mirror: {NO_DOMAIN}; {NO_DOMAIN_HINT}")
    return target


def _mirrors(value: Optional[Value], bundle: Optional[str]) -> MirrorConfig:
    section = value.section(("name", "scope", "neverContactSource", "tags")) if value else {}
    name = section["name"].matching(is_object_name, "a Kubernetes object name") if "name" in section else bundle
    scope = section["scope"].choice(SCOPES) if "scope" in section else None
    never = section["neverContactSource"].boolean() if "neverContactSource" in section else None
    tags = section["tags"].boolean() if "tags" in section else None
    return MirrorConfig(name or "", scope or SCOPES[0], never or False, tags or False)


def _rook(value: Value, images: Sequence[ConfigImage]) -> Optional[RookConfig]:
    objects = ("operatorNamespace", "clusterNamespace", "cephCluster")
    section = value.section(("version", "from", *objects, "images"), required=("version",))
    version = _rook_version(section["version"]) if "version" in section else None
    running = _rook_range(section["from"], version) if "from" in section else None
    operator, cluster = (_rook_object(section.get(key), _is_label, _LABEL_WORDS) for key in objects[:2])
    ceph = _rook_object(section.get("cephCluster"), is_object_name, "a Kubernetes object name")
    roles = _rook_images(section["images"], images) if "images" in section else {}
    if version is None:
        return None
    return RookConfig(version, running or default_range(version), operator, cluster, ceph, roles)


def _rook_version(value: Value) -> Optional[str]:
    text = value.string()
    if text is None:
        return None
    problem = version_problem(text)
    if problem:
        value.fault(problem)
        return None
    return normal_version(text)


def _rook_range(value: Value, version: Optional[str]) -> Optional[str]:
    text = value.string()
    if text is None or version is None:
        return None
    running = " ".join(text.split())
    problem = range_problem(version, running)
    if problem:
        value.fault(problem)
        return None
    return running


def _rook_object(value: Optional[Value], is_name: Callable[[str], bool], words: str) -> str:
    """Return the name of a namespace or cluster, ``auto`` for what the loader finds there.

    What the config leaves out is ``rook-ceph``, as in Rook's examples.
    """
    if value is None:
        return "rook-ceph"
    return value.matching(is_name, words) or ""


def _is_label(text: str) -> bool:
    return _LABEL.fullmatch(text) is not None


def _rook_images(value: Value, images: Sequence[ConfigImage]) -> Mapping[str, ImageRef]:
    roles = {}
    for role, item in value.section(tuple(ROLES)).items():
        said = item.image()
        if said is None:
            continue
        if not any(names(said, image.name) for image in images):
            item.fault(f"{said} is not in images")
        roles[role] = said
    return roles


def _manifests(value: Value, directory: Path, read: ReadFile) -> tuple[ManifestFile, ...]:
    files = []
    for item in value.items():
        section = item.section(("path", "phase", "pin"), required=("path", "phase"))
        pin = section["pin"].boolean() if "pin" in section else None
        phase = section["phase"].choice(_MANIFEST_PHASES) if "phase" in section else None
        path = section["path"].string() if "path" in section else None
        content = _objects(section["path"], directory / path, read) if path else None
        if path == "":
            section["path"].fault("is empty")
        if path and phase and content:
            files.append(ManifestFile(path, phase, content, pin or False))
    return tuple(files)


def _objects(value: Value, path: Path, read: ReadFile) -> Optional[bytes]:
    data = value.attempt(lambda: read(path, MANIFEST_CAPS.size))
    if data is None:
        return None
    content, faults = manifest_list(data)
    for fault in faults:
        value.fault(f"{path} line {fault.line}: {fault.problem}")
    return content or None
