"""Signatures over a media set's list, put onto every disc folder of it; and ISO images of the signed set."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bundler.iso import DiscContent, DiscImage, write_images
from bundler.media import RECORD
from bundler.mediafolder import part_folder
from bundler.mediatexts import transfer_record
from bundler.medium import image_overhead
from bundler.output import write_file
from loader.attach import keep_others
from loader.bundle import mediaset
from loader.bundle.digest import sha256_hex
from loader.bundle.discs import DiscSet, bundle_head, open_set
from loader.bundle.errors import ConfigError, TrustError
from loader.bundle.head import SUMS, signature_label
from loader.bundle.keys import HASHES, PublicKey, parse_public_key
from loader.bundle.limits import MAX_SIGNATURE
from loader.bundle.manifest import BundleManifest, decode
from loader.bundle.volumes import MediaSource
from loader.media.disccheck import disc_faults, short_segments
from loader.media.folder import FolderDisc
from loader.media.places import disc_paths
from loader.signing import CryptographyCheck, Signer, read_small_file
from loader.space import require_space

MAX_RECORD = 2**20
_SIGNED_BY = re.compile(r"signed by +([a-z0-9-]{1,32}) +(sha256:[0-9a-f]{64})")


@dataclass(frozen=True)
class SetFolder:
    """The folder of a set that ``media`` wrote: its disc folders in the set's order, and its manifest."""

    path: Path
    folders: tuple[Path, ...]
    discs: DiscSet
    manifest: BundleManifest


def read_set_folder(path: Path) -> SetFolder:
    """Read the set in ``path``; every disc of it must be there as a folder, with what the same list says and no more.

    Raises ``ConfigError`` when one is missing or of another set, a ``BundleError`` when the list or a file that it
    names is not in order. Of segments the sizes are looked at alone.
    """
    with ExitStack() as stack:
        paths = [entry for entry in disc_paths(path) if entry.is_dir()]
        opened = [stack.enter_context(FolderDisc(entry)) for entry in paths]
        if not opened:
            raise ConfigError(
                f"{path} holds no disc folders",
                why="a media set has v01, v02 and so on",
                hint="name the folder that `media` wrote, without --iso",
            )
        discs = open_set(opened, None)
        manifest = decode(bundle_head(discs).manifest)
        faults = [*disc_faults(discs, MediaSource(discs)), *short_segments(discs)]
    names = [volume.name for volume in discs.media.volumes]
    missing = [name for name in names if path / name not in paths]
    if missing or discs.notes or len(paths) != len(names):
        raise ConfigError(
            f"{path} is not one whole media set",
            why="; ".join([*(f"{name} is missing" for name in missing), *discs.notes]) or "it holds further discs",
            hint="name the folder that `media` wrote, with all its discs",
        )
    for fault in faults:
        raise fault.kind(
            f"{fault.disc}: {fault.what}",
            why="the folder is not as `media` wrote it",
            hint="put it right, or make the set again: neither signatures nor images are made of this one",
        )
    return SetFolder(path, tuple(path / name for name in names), discs, manifest)


def sign_set(path: Path, signer: Signer) -> list[Path]:
    """Write ``SHA256SUMS.LABEL.sig`` onto every disc folder of the set."""
    found = read_set_folder(path)
    return _attach(found, signer.label, signer.sign(found.discs.sums), signer.public)


def attach_set_signature(path: Path, *, label: str, public_key: Path, signature: Path) -> list[Path]:
    """Put another person's signature onto every disc folder; ``TrustError`` unless it verifies."""
    found = read_set_folder(path)
    key = parse_public_key(read_small_file(public_key), public_key.stem)
    data = read_small_file(signature, MAX_SIGNATURE)
    if not key.has_shape(data) or not CryptographyCheck().verify(key, data, found.discs.sums):
        raise TrustError(
            f"{signature} is not {public_key}'s signature over this set",
            why=f"it does not verify over {SUMS} of its discs",
            hint=f"openssl dgst -{HASHES[key.algorithm]} -sign KEY -out SIG {found.folders[0] / SUMS}",
        )
    return _attach(found, label, data, key)


def _attach(found: SetFolder, label: str, data: bytes, key: PublicKey) -> list[Path]:
    written = [folder / f"{SUMS}.{label}.sig" for folder in found.folders]
    for path in written:
        keep_others(path, key, found.discs.sums, CryptographyCheck())
    for path in written:
        write_file(path, data)
    record = found.path / RECORD
    if record.is_file():
        write_file(record, _with_signer(read_small_file(record, MAX_RECORD), label, key))
    return written


def _with_signer(record: bytes, label: str, key: PublicKey) -> bytes:
    """The paper slip with one more signer."""
    line = f"signed by         {label}  {key.fingerprint}".encode("ascii")
    lines = [one for one in record.split(b"\n") if one not in {line, b"signed by         nobody yet"}]
    at = next((number + 1 for number, one in enumerate(lines) if one.startswith(b"loader ")), len(lines))
    return b"\n".join([*lines[:at], line, *lines[at:]])


def make_images(path: Path, output: Path, xorriso: str, say: Callable[[str, str], None]) -> list[Path]:
    """Write an ISO image of every disc of the signed set in ``path`` into the new folder ``output``.

    Raises ``ConfigError`` for a set that nobody signed: an image can't be signed any more.
    """
    found = read_set_folder(path)
    labels = sorted(filter(None, (signature_label(entry.name) for entry in found.folders[0].iterdir())))
    if not labels:
        raise ConfigError(
            f"{path} is not signed yet",
            why="signatures stand on the discs and can't be added to an image",
            hint="airgap-bundler sign SETDIR --key KEY, or attach-signature, then iso",
        )
    with part_folder(output) as parts:
        wanted = [
            (
                DiscContent(mediaset.label(found.discs.media.bundle, folder.name), found.manifest.created, [folder]),
                parts / f"{folder.name}.iso",
            )
            for folder in found.folders
        ]
        require_space(output, sum(map(_room, found.folders)))
        images = write_images(xorriso, wanted)
        finals = [output / target.name for _, target in wanted]
        for (content, target), final in zip(wanted, finals):
            target.replace(final)
            say("wrote", f"{final}  {content.label}")
    write_file(output / RECORD, _image_record(found, labels, images))
    return finals


def _room(folder: Path) -> int:
    """Bytes that an image of ``folder`` takes at most."""
    files = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return sum(files) + image_overhead(len(files))


def _image_record(found: SetFolder, labels: Sequence[str], images: Sequence[DiscImage]) -> bytes:
    """The paper slip with the images; fingerprints are those that were written onto the set's own slip."""
    record = found.path / RECORD
    lines = read_small_file(record, MAX_RECORD).decode("ascii", "replace").splitlines() if record.is_file() else []
    noted = {match[1]: match[2] for match in map(_SIGNED_BY.fullmatch, lines) if match}
    signers = {label: noted.get(label, "key not noted") for label in labels}
    described = {image.name[:3]: image for image in images}
    return transfer_record(found.discs.media, found.manifest, sha256_hex(found.discs.sums), signers, described)
