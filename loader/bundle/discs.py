"""Discs of a media set, in any order: which set they belong to, who signed it, what each one carries.

The set's list needs one trusted signature and must be the one that ``set.json`` gives. A disc whose own list is
damaged is still good for its segments: every chunk is checked against the signed index as it is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Optional, Protocol

from loader.bundle import mediaset
from loader.bundle.archive import ByteSource, read_exact
from loader.bundle.digest import sha256_hex
from loader.bundle.errors import BundleError, FormatError, StorageError, TrustError
from loader.bundle.head import MANIFEST, SUMS, Head, signature_label
from loader.bundle.limits import MAX_HEAD_FILE, MAX_SIGNATURE, MAX_SIGNATURES, MAX_UNSIGNED_SET
from loader.bundle.mediaset import INDEX, SET, MediaSet, SetFile
from loader.bundle.verify import Signer, Trust, verify_list

FILE = "file"


class Disc(Protocol):
    """One medium: a folder, an ISO image or a device. ``name`` is what the user called it."""

    name: str

    def entries(self) -> Mapping[str, str]:
        """Path of everything that is no folder -> ``file``, or what else it is in one word."""
        ...

    def open(self, path: str) -> ByteSource:
        """Open a regular file; ``StorageError`` or ``FormatError`` if it can't be."""
        ...


@dataclass(frozen=True)
class DiscSet:
    """The discs at hand of one set. ``copies`` has the discs that carry a volume, ``notes`` what else was found.

    ``broken``: discs whose own list can't be read, and why; the notes have them too.
    """

    media: MediaSet
    sums: bytes
    index: bytes
    signers: tuple[Signer, ...]
    discs: tuple[Disc, ...]
    copies: Mapping[str, tuple[Disc, ...]]
    notes: tuple[str, ...]
    broken: tuple[tuple[str, BundleError | StorageError], ...] = ()


def open_set(discs: Sequence[Disc], trust: Optional[Trust]) -> DiscSet:
    """Find the set that ``discs`` are of and check its list; without ``trust`` its signatures are not.

    The first disc whose set is in order decides; discs of other sets are left out and named in ``notes``.
    Raises the first disc's error when none is in order.
    """
    heads: list[tuple[Disc, Head]] = []
    notes: list[str] = []
    damaged: list[Disc] = []
    broken: list[tuple[str, BundleError | StorageError]] = []
    for disc in discs:
        head = _try_disc(disc)
        if isinstance(head, Head):
            heads.append((disc, head))
        else:
            broken.append((disc.name, head))
            notes.append(f"{disc.name}: {head}")
            damaged.append(disc)
    if not heads:
        raise broken[0][1] if broken else RuntimeError("a set needs a disc")
    media, signers, sums = _choose(heads, trust)
    for disc, head in heads:
        if head.sums != sums:
            what, same_chunks = _stranger(media, head)
            notes.append(f"{disc.name} {what}")
            if same_chunks:
                damaged.append(disc)
    notes += _unlike([(disc, head) for disc, head in heads if head.sums == sums], signers)
    good = [disc for disc, head in heads if head.sums == sums]
    copies = _copies(media, [*good, *damaged], notes)
    index = read_common(good, next(file for file in media.files if file.path == INDEX))
    return DiscSet(media, sums, index, tuple(signers), tuple(good), copies, tuple(notes), tuple(broken))


def _try_disc(disc: Disc) -> Head | BundleError | StorageError:
    try:
        return read_disc(disc)
    except (BundleError, StorageError) as error:
        return error


def read_disc(disc: Disc) -> Head:
    """Read a disc's own list, its signatures and ``set.json``, none of them checked."""
    entries = disc.entries()
    if SET not in entries or SUMS not in entries:
        raise _no_set(disc, entries)
    labels = sorted(label for label in map(signature_label, entries) if label is not None)
    if len(labels) > MAX_SIGNATURES:
        raise FormatError(f"too many signatures on {disc.name}", why=f"{len(labels)}; at most {MAX_SIGNATURES}")
    signatures = tuple((label, _read(disc, f"{SUMS}.{label}.sig", MAX_SIGNATURE)) for label in labels)
    return Head(_read(disc, SUMS, MAX_HEAD_FILE), signatures, _read(disc, SET, MAX_HEAD_FILE))


def read_common(discs: Sequence[Disc], file: SetFile) -> bytes:
    """Return a file that stands on every disc from the first one that has it as the list says."""
    why = "no disc here carries it"
    for disc in discs:
        try:
            data = _read(disc, file.path, file.size)
        except (BundleError, StorageError) as error:
            why = f"{disc.name}: {error}"
            continue
        if sha256_hex(data) == file.sha256:
            return data
        why = f"{disc.name}: expected {file.sha256}, got {sha256_hex(data)}"
    raise TrustError(f"{file.path} of the set does not match its SHA-256", why=why, hint="give another disc of the set")


def bundle_head(discs: DiscSet) -> Head:
    """Return the archive's own head as it stands on every disc: its list and every signature known."""
    files = {file.path: file for file in discs.media.files}
    labels = sorted(
        label
        for path in files
        for folder, _, name in [path.rpartition("/")]
        for label in [signature_label(name)]
        if folder == "bundle" and label is not None
    )
    signatures = tuple((label, read_common(discs.discs, files[f"bundle/{SUMS}.{label}.sig"])) for label in labels)
    sums = read_common(discs.discs, files[f"bundle/{SUMS}"])
    return Head(sums, signatures, read_common(discs.discs, files[f"bundle/{MANIFEST}"]))


def _read(disc: Disc, path: str, cap: int) -> bytes:
    source = disc.open(path)
    if source.size > cap:
        raise FormatError(f"{path} on {disc.name} is too large", why=f"{source.size} bytes; at most {cap}")
    return bytes(read_exact(source, 0, source.size))


def _no_set(disc: Disc, entries: Mapping[str, str]) -> FormatError:
    folded = {path.upper().rstrip(".").partition(";")[0] for path in entries}
    if {"SET.JSON", "SET.JSO", "SET~1.JSO"} & folded:
        return FormatError(
            f"{disc.name} shows cut or upper-cased file names",
            why=f"there is no {SET}, but a file of that name in another spelling",
            hint="mount it with its Rock Ridge or Joliet names, and name the mount point; an image of airgap-bundler "
            "has Rock Ridge names and can be given as it is",
        )
    return FormatError(
        f"{disc.name} is no disc of a media set",
        why=f"{SET if SUMS in entries else SUMS} is not there",
        hint="a disc has SHA256SUMS and set.json at its top",
    )


def _choose(heads: Sequence[tuple[Disc, Head]], trust: Optional[Trust]) -> tuple[MediaSet, Sequence[Signer], bytes]:
    failure: Optional[BundleError] = None
    for sums in dict.fromkeys(head.sums for _, head in heads):
        same = [head for _, head in heads if head.sums == sums]
        signatures = list(dict.fromkeys(signature for head in same for signature in head.signatures))
        try:
            signers = verify_list(sums, signatures, trust, "media set") if trust else []
            if trust is None and any(len(head.manifest) > MAX_UNSIGNED_SET for head in same):
                raise FormatError(
                    f"{SET} is too large to be read before anybody vouches for it",
                    why=f"more than {MAX_UNSIGNED_SET} bytes",
                )
            return _agreeing(same), signers, sums
        except BundleError as error:
            failure = failure or error
    raise failure or RuntimeError("a set needs a head")


def _unlike(heads: Sequence[tuple[Disc, Head]], signers: Sequence[Signer]) -> Iterator[str]:
    """Say which discs carry another signature under a label than the others, or than the one that verified."""
    right = {signer.label: signer.signature for signer in signers}
    for disc, head in heads:
        for label, signature in head.signatures:
            if right.setdefault(label, signature) != signature:
                yield f"{disc.name}: {SUMS}.{label}.sig is not the signature that stands on the other discs"


def _agreeing(heads: Sequence[Head]) -> MediaSet:
    """The set that the list and a ``set.json`` agree on."""
    sums = heads[0].sums
    for head in heads:
        # The list is not parsed: a line can only be looked for.
        if f"\n{sha256_hex(head.manifest)}  {SET}\n".encode("ascii") in b"\n" + sums:
            media = mediaset.decode(head.manifest)
            if mediaset.set_sums(media, head.manifest) != sums:
                raise FormatError(
                    f"the set's {SUMS} and {SET} disagree", why=f"the list made from {SET} is another one"
                )
            return media
    raise TrustError(
        f"{SET} does not match the signed {SUMS}",
        why="the list has no line with its hash" if sums.count(SET.encode("ascii")) else "the list is not a set's list",
        hint="give another disc of the set",
    )


def _stranger(media: MediaSet, head: Head) -> tuple[str, bool]:
    """What a disc with another list is, and whether its segments may be this set's: their chunks are checked anyway."""
    if len(head.manifest) > MAX_UNSIGNED_SET:
        return f"has another list, which was not checked, and a {SET} of {len(head.manifest)} bytes", True
    try:
        other = _agreeing([head])
    except BundleError:
        return f"has a damaged {SUMS} or {SET}", True
    return stranger(media, other)


def stranger(media: MediaSet, other: MediaSet) -> tuple[str, bool]:
    """What a disc of ``other`` is to ``media``, and whether its segments may be of it: their chunks are checked."""
    if other.set_id == media.set_id:
        return "has the same share with other files beside it: it was written in another run", True
    if other.bundle.id == media.bundle.id:
        return f"is a disc of another cut of {media.name} (set id {other.set_id[:12]}, not {media.set_id[:12]})", False
    if other.name == media.name:
        return f"is a disc of another build of {media.name} (bundle id {other.bundle.id[:12]})", False
    return f"is a disc of another set: {other.name}, not {media.name}", False


def adopt(known: DiscSet, discs: Sequence[Disc], notes: Sequence[str]) -> DiscSet:
    """Return the set ``known`` with other ``discs`` at hand, whose own lists can't be read: their segments alone."""
    said = list(notes)
    copies = _copies(known.media, discs, said)
    return replace(known, discs=tuple(discs), copies=copies, notes=tuple(said))


def _copies(media: MediaSet, discs: Sequence[Disc], notes: list[str]) -> dict[str, tuple[Disc, ...]]:
    found: dict[str, tuple[Disc, ...]] = {}
    for disc in discs:
        try:
            entries = disc.entries()
        except (BundleError, StorageError):
            continue  # its error stands in the notes already
        mine = []
        for volume in media.volumes:
            kinds = {entries.get(segment.name, "") for segment in volume.segments}
            notes.extend(f"{disc.name}: a segment of {volume.name} is a {kind}" for kind in sorted(kinds - {"", FILE}))
            if FILE in kinds:
                mine.append(volume.name)
        if not mine:
            notes.append(f"{disc.name} carries no segment of {media.name}")
        for name in mine:
            if name in found:
                notes.append(f"disc {name} is here twice: {found[name][0].name} and {disc.name}")
            found[name] = (*found.get(name, ()), disc)
    return found
