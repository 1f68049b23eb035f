"""Steps 6 and 7 on discs: everything is read, and what is lost is told in full, not at the first chunk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from loader.bundle.errors import ConfigError, MissingVolume
from loader.bundle.verify import Complete, verify_content
from loader.media.disccheck import Fault, disc_faults
from loader.opening import Opened
from loader.sidecar import LOOSE_BITS, SidecarCheck, compared, has_loose_bits


def bytes_to_read(opened: Opened) -> int:
    """How many bytes ``verify_opened`` tells of: the bundle's unpacked ones, and those of the parity discs at hand."""
    parity = opened.media.source.parity if opened.media is not None else ()
    return opened.bundle.unpacked + sum(reader.volume.size for reader in parity if reader.copies)


def verify_opened(opened: Opened, on_bytes: Callable[[int], None]) -> Complete:
    """Read and check every byte of the archive; of discs, parity and the common files of each disc too.

    Raises ``MissingVolume`` naming every disc that is missing or damaged when parity does not cover it, and the
    error of the first file that is not as the signed list says. One that can't be read is noted in ``opened.media``.
    """
    media, drive = opened.media, opened.drive
    if drive is not None:
        drive.begin()
        furthest: dict[int, int] = {}
        drive.run(drive.one.left, lambda number: drive.one.check(number, _anew(furthest, number, on_bytes)))
        return drive.complete()
    if media is None:
        return verify_content(opened.bundle, on_bytes=on_bytes)
    try:
        with media.source.proven_by_content():
            complete = verify_content(opened.bundle, on_bytes=on_bytes, doubt=media.source.doubt)
    except MissingVolume:
        media.source.tell_all()
        raise
    media.source.survey(media.source.parity, on_bytes)
    for fault in disc_faults(media.discs, media.source):
        if fault.kind is not MissingVolume:
            raise _error(fault)
        # Scratched on this disc: it was read from another one where anything of it was used.
        media.unreadable.append(f"{fault.disc}: {fault.what}")
    return complete


def verify_beside(opened: Opened, on_bytes: Callable[[int], None], *, required: bool) -> SidecarCheck:
    """As :func:`verify_opened`; where it is ``required`` compare the archive file with its signed sidecar as well.

    Raises ``TrustError`` where it is another file, or where no trusted key signed the sidecar.
    """
    sidecar = opened.sidecar
    if not required:
        verify_opened(opened, on_bytes)
        return SidecarCheck(omitted=LOOSE_BITS if sidecar is not None and has_loose_bits(opened.bundle) else "")
    if sidecar is None:
        raise ConfigError(
            "discs have no sidecar", why="their lists have the hash of every chunk", hint="leave --sidecar out"
        )
    sidecar.require_signed()
    with compared(opened.bundle, sidecar):
        verify_opened(opened, on_bytes)
    return sidecar.held()


def _anew(furthest: dict[int, int], number: int, on_bytes: Callable[[int], None]) -> Callable[[int], None]:
    """``on_bytes`` of a span that may be read again when its bad chunks are healed: told once of each byte."""
    here = 0

    def tell(size: int) -> None:
        nonlocal here
        here += size
        new = here - furthest.get(number, 0)
        if new > 0:
            furthest[number] = here
            on_bytes(new)

    return tell


def media_document(opened: Opened) -> dict[str, Any]:
    """What a verdict says of discs: ``healable`` is true for damage that parity covers, null without damage."""
    media = opened.media
    if opened.drive is not None:
        return opened.drive.document()
    if media is None:
        return {"healable": None, "media": None}
    source = media.source
    volumes = [
        {
            "badChunks": sorted(reader.damage),
            "chunks": reader.volume.chunks,
            "fromParity": len(source.healed.get(reader.volume.name, ())),
            "here": bool(reader.copies),
            "name": reader.volume.name,
        }
        for reader in source.volumes
    ]
    struck = any(reader.damage for reader in source.volumes) or bool(source.healed) or bool(media.unreadable)
    return {
        "healable": True if struck else None,
        "media": {
            "discs": volumes,
            "notes": [*media.discs.notes, *media.unreadable],
            "setId": media.discs.media.set_id,
        },
    }


def _error(fault: Fault) -> Exception:
    return fault.kind(
        f"{fault.disc}: {fault.what}",
        why="the signed list of the set says otherwise; images and documents are not touched by it",
        hint="write this disc again, or give another copy; load, push and extract take nothing from that file",
    )
