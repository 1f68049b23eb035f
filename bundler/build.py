"""The story of a build: resolve, compose, pack, verify our own result, name it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from bundler.compose import FOREIGN, Composition, compose, sparse_warning, utc
from bundler.config import BuildConfig
from bundler.coverage import missing_images
from bundler.delta import Base
from bundler.gather import gather
from bundler.lock import Lock, changes, require_unchanged
from bundler.output import hidden_name, partial_file, write_file
from bundler.pack import PackedImage, head_tar
from bundler.packing import Packing, Say
from bundler.render.documents import summary
from bundler.report import build_page
from bundler.resolve import OpenSource, ResolvedImage
from bundler.selfcheck import own_trust
from bundler.sequence import what_loaders_mind
from bundler.signed import signed_lines
from bundler.sigstore import archive_sha256, sigstore_bundle, sigstore_name
from loader.bundle.errors import BundleError, ConfigError, StorageError
from loader.bundle.filesource import FileSource
from loader.bundle.head import Head, read_head
from loader.bundle.manifest import decode
from loader.bundle.verify import verify_content, verify_head
from loader.meter import Progress
from loader.nodefiles import render_node_files
from loader.signing import Signer
from loader.units import counted, duration, human
from loader.zstd import find_decoder

# Manifests asked for at once: they are small, and what they cost is the way to the registry and back.
_QUESTIONS = 16


@dataclass(frozen=True)
class BuildPorts:
    """What a build needs from outside. ``now`` is in seconds since the epoch, ``open_source`` gives an image's bytes.

    ``progress(step, bytes)`` gives a context that takes bytes done from any thread; ``locked`` makes any change
    of the lock an error; ``base`` makes the bundle a delta; ``sigstore`` writes what cosign checks.
    """

    open_source: OpenSource
    now: int
    say: Say
    progress: Progress
    clock: Callable[[], float]
    jobs: int = 3
    locked: bool = False
    base: Optional[Base] = None
    sigstore: bool = False


@dataclass(frozen=True)
class Built:
    """A finished bundle; ``unchanged`` when the very same file was there already."""

    path: Path
    size: int
    sha256: str
    composition: Composition
    unchanged: bool


def build(
    config: BuildConfig, locks: tuple[Lock, Lock], output: Path, signers: Sequence[Signer], ports: BuildPorts
) -> Built:
    """Write the bundle of ``config`` into the folder ``output`` and verify it.

    ``locks`` are the lock as it was, and as far as it still binds this build.
    Raises ``ConfigError``, ``RegistryError`` or ``StorageError``; nothing is left under a final name then.
    """
    started = ports.clock()
    before, lock = locks
    # Whoever wants fewer transfers than usual wants fewer connections.
    jobs = ports.jobs if ports.jobs < BuildPorts.jobs else max(ports.jobs, _QUESTIONS)
    resolved = gather(config.images, lock, ports.open_source, jobs=jobs)
    path = output / f"{config.name}-{config.version}.tar.zst"
    there = _there(path)
    before_it = there or _there(hidden_name(path))
    planned = compose(config, lock, resolved, signers, now=ports.now, there=before_it, base=ports.base)
    planned = _signatures_kept(planned, there, signers, path)
    ports.say("resolved", _resolved_line(resolved, planned.packed))
    for line in signed_lines(resolved):
        ports.say("signed", line)
    _tell_base(planned, ports)
    _tell_foreign(planned, ports)
    _tell_changes(changes(before, planned.lock), ports)
    warnings = what_loaders_mind(planned.manifest, planned.head.id, before, utc(ports.now))
    for warning in (*warnings, *sparse_warning(planned.manifest), *missing_images(planned.manifest, planned.texts)):
        ports.say("warning", warning)
    ports.say("rendered", summary(planned.documents))
    for note in render_node_files(planned.manifest.mirrors).left_out:
        ports.say("warning", f"no node file for {note}")
    with partial_file(path) as partial:
        unchanged = _is_there(path, planned.head, signers, ports.say)
        if unchanged:
            sha256 = archive_sha256(path)
        else:
            packing = Packing(partial, planned, resolved, signers, jobs=ports.jobs)
            sha256 = packing.run(ports.say, ports.progress)
            partial.keep(path)
        _write_sidecars(path, sha256, planned, signers)
        for signer in signers if ports.sigstore else ():
            name = sigstore_name(path.name, signer.label)
            write_file(path.with_name(name), sigstore_bundle(signer, sha256))
    built = Built(path, path.stat().st_size, sha256, planned, unchanged)
    took = "there already, verified" if unchanged else duration(ports.clock() - started)
    ports.say("packed", f"{path}  {human(built.size)}  {took}")
    ports.say("verified", f"{_signed_words(planned.head, signers)}, id {planned.head.id}")
    return built


def _signed_words(head: Head, signers: Sequence[Signer]) -> str:
    if signers:
        names = ", ".join(f"{signer.label} ({signer.public.fingerprint[:19]}…)" for signer in signers)
        return f"signed by {names}"
    earlier = ", ".join(label for label, _ in head.signatures)
    return f"signature of {earlier} kept as it is" if earlier else "UNSIGNED"


def _resolved_line(resolved: Sequence[ResolvedImage], packed: Sequence[PackedImage]) -> str:
    blobs = {blob.digest: blob.size for image in packed for blob in (*image.configs, *image.layers)}
    uses = sum(
        size
        for image in packed
        for size in {blob.digest: blob.size for blob in (*image.configs, *image.layers)}.values()
    )
    count = sum(1 + len(image.children) for image in resolved)
    unique = sum(blobs.values())
    return (
        f"{counted(len(resolved), 'image')}, {counted(count, 'manifest')}, {counted(len(blobs), 'blob')}, "
        f"{human(unique)} ({human(uses)} before sharing)"
    )


def _tell_foreign(planned: Composition, ports: BuildPorts) -> None:
    for image in planned.manifest.images:
        foreign = sum(left.reason == FOREIGN for left in image.omitted)
        if foreign:
            layers = f"{foreign} foreign layer{'s' if foreign > 1 else ''}"
            ports.say("warning", f"{image.source}: {layers} not shipped, the bytes are hosted elsewhere")


def _tell_base(planned: Composition, ports: BuildPorts) -> None:
    if ports.base is not None:
        left_out = planned.manifest.requires
        size = human(sum(item.size for item in left_out))
        ports.say("base", f"{ports.base.name}: {counted(len(left_out), 'blob')}, {size} left out")


def _there(path: Path) -> Optional[Head]:
    """The head of what ``path`` holds already, where it can be read."""
    try:
        with FileSource(str(path)) as source:
            head = read_head(source)
        decode(head.manifest)
        return head
    except (BundleError, StorageError):
        return None


def _tell_changes(lines: Sequence[str], ports: BuildPorts) -> None:
    if ports.locked:
        require_unchanged(lines)
    for line in lines:
        ports.say("lock", line)


def _signatures_kept(planned: Composition, there: Optional[Head], signers: Sequence[Signer], path: Path) -> Composition:
    """Take nobody's signature away from this same bundle: without a key it stays as it is, another is refused."""
    if there is None or there.sums != planned.head.sums:
        return planned
    others = [label for label, _ in there.signatures if label not in {signer.label for signer in signers}]
    if not others:
        return planned
    if not signers:
        return replace(planned, head=there)
    raise ConfigError(
        f"{path} is there already, signed by {', '.join(others)}",
        why="this build has another key, and would take that signature away",
        hint="sign adds a signature to what is there; for this key's alone give another folder with -o",
    )


def _is_there(path: Path, head: Head, signers: Sequence[Signer], say: Callable[[str, str], None]) -> bool:
    """Whether ``path`` is this very bundle already; ``ConfigError`` when it is another one, or no file."""
    if not path.exists():
        return False
    if not path.is_file():
        raise ConfigError(
            f"{path} is no file", why="the bundle is to have its name", hint="remove it, or give another folder with -o"
        )
    try:
        with FileSource(str(path)) as source:
            there = read_head(source)
            if there.id == head.id:
                trust, beside = own_trust(head, signers)
                verify_content(verify_head(source, trust, find_decoder(), beside=beside))
                return there == head
    except BundleError as error:
        say("warning", f"{path} is not whole, and is written anew: {error}")
        return False
    raise ConfigError(
        f"{path} is another bundle of the same name and version",
        why=f"its id is {there.id[:12]}, the new one's {head.id[:12]}",
        hint="give the config a new version, or another folder with -o",
    )


def _write_sidecars(path: Path, sha256: str, planned: Composition, signers: Sequence[Signer]) -> None:
    """Write what stands beside the archive: its checksum, the checksum's signatures, the head, the page."""
    checksum = f"{sha256}  {path.name}\n".encode("ascii")
    facts = {"archive": path.name, "size": human(path.stat().st_size), "SHA-256 of the archive": sha256}
    stem = path.name[: -len(".tar.zst")]
    beside = {
        f"{path.name}.sha256": checksum,
        **{f"{path.name}.sha256.{signer.label}.sig": signer.sign(checksum) for signer in signers},
        f"{stem}.head.tar": head_tar(planned.head),
        f"{stem}.report.html": build_page(planned.manifest, planned.head, signers, facts),
    }
    # Signed before and built without a key: what stands there tells of the signers, which this build cannot.
    earlier = bool(planned.head.signatures) and not signers
    for name, data in beside.items():
        if not (earlier and path.with_name(name).exists()):
            write_file(path.with_name(name), data)
