"""The registry's story: listen, verify everything, look for replay, then answer until interrupted."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from loader.bundle.verify import Complete, Trust, VerifiedBundle, verify_content
from loader.distribution.catalogue import Catalogue
from loader.distribution.server import Listen, Server, Traffic, tls_context
from loader.filling import open_filled, require_carried
from loader.history import History
from loader.meter import Progress
from loader.oci.model import tag_in_airgap
from loader.opening import Sources
from loader.units import counted, human
from loader.verdict import signature_line


@dataclass(frozen=True)
class ServeOptions:
    """Where to listen, with which certificate, and why an older bundle is right."""

    listen: Listen
    certificate: Optional[Path] = None
    key: Optional[Path] = None
    override: Optional[str] = None


@dataclass(frozen=True)
class ServePorts:
    """What serving needs from outside; ``ready`` gets the document of what is served once it is."""

    history: History
    say: Callable[[str, str], None]
    note: Callable[[str, str], None]
    trace: Callable[[str], None]
    progress: Progress
    now: Callable[[], str]
    ready: Callable[[dict[str, Any]], None]


_SHOWN = 20


def serve(
    sources: Sources, trust: Trust, options: ServeOptions, ports: ServePorts, *, signatures: Sequence[Path] = ()
) -> None:
    """Be a read-only registry of the bundle until interrupted.

    Everything is read and checked once before the first request is answered, and again whenever it is sent.
    ``AirgapError`` where the address is taken, told before anything is read.
    """
    context = tls_context(options.certificate, options.key)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(options.listen, context, trace=ports.trace, note=ports.note))
        filled = stack.enter_context(open_filled(sources, trust, signatures=signatures, say=ports.say))
        bundle = filled.bundle
        require_carried(bundle, [*bundle.manifest.images, *bundle.manifest.attachments], filled.more)
        before = ports.history.newest(bundle) if options.override else ports.history.check(bundle)
        complete = _verified(bundle, ports)
        more = [_verified(one, ports) for one in filled.more]
        ports.say("verify", signature_line(bundle, before))
        for warning in bundle.warnings:
            ports.say("warning", warning)
        ports.history.record(bundle, when=ports.now(), reason=options.override)
        catalogue = Catalogue(complete, more)
        try:
            server.serve(catalogue, lambda: _tell(bundle, catalogue, server, ports))
        except KeyboardInterrupt:
            ports.say("stopped", _total(server.traffic))


def _verified(bundle: VerifiedBundle, ports: ServePorts) -> Complete:
    with ports.progress("verify", bundle.unpacked) as on_bytes:
        return verify_content(bundle, on_bytes=on_bytes)


def _tell(bundle: VerifiedBundle, catalogue: Catalogue, server: Server, ports: ServePorts) -> None:
    """Say what is served and how it is pulled."""
    listen, secure = server.listen, server.context is not None
    host = str(Listen(socket.gethostname(), listen.port)) if listen.host in {"", "0.0.0.0", "::"} else str(listen)  # noqa: S104 - a comparison
    url = f"{'https' if secure else 'http'}://{host}"
    images = [
        {
            "digest": image.digest,
            "name": f"{host}/{image.repository}:{tag_in_airgap(image.tag, image.digest)}",
            "source": f"{image.source}:{image.tag}" if image.tag else f"{image.source}@{image.digest}",
        }
        for image in bundle.manifest.images
    ]
    ports.say(
        "serving",
        f"{counted(len(images), 'image')} in {len(catalogue.names)} repositories at {url}, read-only; Ctrl-C ends it",
    )
    flag = "" if secure else "--tls-verify=false "
    for image in images[:_SHOWN]:
        ports.say("pull", f"podman pull {flag}{image['name']}")
    if len(images) > _SHOWN:
        ports.say("pull", f"and {len(images) - _SHOWN} more: {url}/v2/_catalog")
    if not secure and not _is_loopback(listen.host):
        ports.note("warning", f"{listen} is open to the network without TLS: --tls-cert and --tls-key give it one")
    ports.ready({"id": bundle.id, "images": images, "sequence": bundle.manifest.sequence, "tls": secure, "url": url})


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host.startswith("127.") or host == "::1"


def _total(traffic: Traffic) -> str:
    broken = f", {counted(traffic.broken, 'transfer')} given up" if traffic.broken else ""
    return f"{counted(traffic.requests, 'request')} answered, {human(traffic.sent)} sent{broken}"
