"""Images into the local storage of podman, buildah and CRI-O, by skopeo out of a registry of our own on loopback."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from loader.bundle.errors import AirgapError, ConfigError, StorageError
from loader.bundle.manifest import Image
from loader.bundle.verify import Complete, Trust, VerifiedBundle, verify_content
from loader.cluster.process import Runner
from loader.distribution.catalogue import Catalogue
from loader.distribution.server import Listen, Server
from loader.filling import open_filled, require_carried
from loader.history import History
from loader.imports import ImportLog
from loader.meter import Progress
from loader.opening import Sources
from loader.report import Report
from loader.site import chosen_images
from loader.units import counted
from loader.verdict import signature_line

# containers/storage's own syntax: a driver and folders may be named in brackets before the image.
_TARGET = re.compile(r"containers-storage:(?:\[[^\[\]]{1,1000}\])?")
_TIMEOUT = 6 * 3600.0  # an image of 100 GB on a slow disk ends well before this
_LAST_LINES = 3


@dataclass(frozen=True)
class StoreOptions:
    """Where to (``containers-storage:``), which images, and why an older bundle is right."""

    target: str
    globs: tuple[str, ...] = ()
    dry_run: bool = False
    override: Optional[str] = None


@dataclass(frozen=True)
class StorePorts:
    """What storing needs from outside; ``skopeo`` is the program's path, ``verified`` is told of the bundle."""

    skopeo: str
    run: Runner
    history: History
    imports: ImportLog
    report: Report
    verified: Callable[[VerifiedBundle], None]
    say: Callable[[str, str], None]
    note: Callable[[str, str], None]
    trace: Callable[[str], None]
    progress: Progress
    now: Callable[[], str]


def store(
    sources: Sources, trust: Trust, options: StoreOptions, ports: StorePorts, *, signatures: Sequence[Path] = ()
) -> list[str]:
    """Copy every image to local storage under its source's name, by tag and digest; return the names.

    Nothing is unpacked on the way: skopeo pulls from a registry on loopback that reads the bundle. One image that
    fails stops no other; ``StorageError`` then names all that did.
    """
    if _TARGET.fullmatch(options.target) is None:
        raise ConfigError(
            f"--to {options.target[:80]} is not known",
            why="it takes containers-storage:",
            hint="--registry is for others",
        )
    with open_filled(sources, trust, signatures=signatures, say=ports.say) as filled:
        bundle = filled.bundle
        ports.verified(bundle)
        images = chosen_images(bundle.manifest.images, options.globs)
        require_carried(bundle, images, filled.more)
        before = ports.history.newest(bundle) if options.override else ports.history.check(bundle)
        complete, *more = [_verified(one, ports) for one in (bundle, *filled.more)]
        ports.say("verify", signature_line(bundle, before))
        names = {image: f"{options.target}{_name(image)}" for image in images}
        if options.dry_run:
            for name in names.values():
                ports.say("store", f"{name} (not done: --dry-run)")
            return list(names.values())
        with _recorded(bundle, trust, options, ports), _registry(Catalogue(complete, more), ports) as host:
            _copy_all(names, host, ports)
    return list(names.values())


@contextlib.contextmanager
def _recorded(bundle: VerifiedBundle, trust: Trust, options: StoreOptions, ports: StorePorts) -> Iterator[None]:
    """Keep report and evidence of what the block stores, however it ends."""
    said = ports.report.begin(bundle, options.target, ports.now(), verb="push")
    if said:
        ports.note("report", said)
    ports.imports.begin(bundle, trust, ports.report.record, verb="push", reason=options.override)
    try:
        ports.history.record(bundle, when=ports.now(), reason=options.override)
        yield
        ports.report.succeeded()
    except AirgapError as error:
        ports.report.failed(error)
        raise
    finally:
        ports.report.finish(ports.now())
        ports.imports.finish(ports.report.record)


def _verified(bundle: VerifiedBundle, ports: StorePorts) -> Complete:
    with ports.progress("verify", bundle.unpacked) as on_bytes:
        return verify_content(bundle, on_bytes=on_bytes)


def _name(image: Image) -> str:
    return f"{image.source}:{image.tag}" if image.tag else f"{image.source}@{image.digest}"


@contextlib.contextmanager
def _registry(catalogue: Catalogue, ports: StorePorts) -> Iterator[str]:
    """Serve ``catalogue`` on loopback while the block lasts; yields its ``host:port``."""
    with Server(Listen("127.0.0.1", 0), None, trace=ports.trace, note=ports.note) as server:
        ready = threading.Event()
        thread = threading.Thread(target=server.serve, args=(catalogue, ready.set), name="registry")
        thread.start()
        try:
            ready.wait()
            yield str(server.listen)
        finally:
            server.shutdown()
            thread.join()


def _copy_all(names: dict[Image, str], host: str, ports: StorePorts) -> None:
    failed: dict[Image, str] = {}
    for image, name in names.items():
        argv = [ports.skopeo, "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"]
        argv += [f"docker://{host}/{image.repository}@{image.digest}", name]
        ports.trace(" ".join(argv))
        done = ports.run(argv, stdin=b"", timeout=_TIMEOUT)
        if done.status == 0:
            ports.say("stored", name)
        else:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
            failed[image] = "; ".join(lines[-_LAST_LINES:]) or f"status {done.status}"
    ports.report.stored([(image, failed.get(image)) for image in names])
    if failed:
        raise StorageError(
            f"{len(failed)} of {counted(len(names), 'image')} could not be stored",
            why="; ".join(f"{names[image]}: {why}" for image, why in failed.items()),
            hint="mend the cause, then run the same command again; --image chooses among the images",
        )
