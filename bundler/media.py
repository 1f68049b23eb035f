"""The story of a media set: read the archive and hash it, cut it, add parity, write every disc."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional

from bundler.iso import Cut, DiscContent, DiscImage, write_images
from bundler.mediafolder import part_folder
from bundler.mediapage import media_page
from bundler.mediatexts import readme_by_hand, readme_verify, transfer_record
from bundler.medium import Geometry, common_files, cut
from bundler.output import sync, write_file
from bundler.stripes import FileHash, SetSums, read_archive, unchanged
from loader import __version__
from loader.bundle import mediaset
from loader.bundle.digest import is_hex, sha256_hex
from loader.bundle.errors import StorageError, TrustError
from loader.bundle.filesource import FileSource
from loader.bundle.head import MANIFEST, SUMS, Head, read_head
from loader.bundle.manifest import BundleManifest
from loader.bundle.mediaset import MediaSet, SetArchive, SetBundle, SetFile
from loader.bundle.prediction import decode_manifest, open_archive
from loader.signaturefiles import signatures_beside
from loader.signing import Signer, read_small_file
from loader.space import require_space
from loader.units import human
from loader.zstd import find_decoder

RECORD = "TRANSFER-RECORD.txt"
_SYNCING = 8  # small files at a time: a disk takes several in one go


@dataclass(frozen=True)
class MediaOptions:
    """What was asked for: bytes per disc, parity discs, the loader's file, ISO images by the given xorriso."""

    capacity: int
    parity: int = 0
    loader: Optional[Path] = None
    xorriso: Optional[str] = None


@dataclass(frozen=True)
class MediaPorts:
    """What writing needs from outside."""

    say: Callable[[str, str], None]
    progress: Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class WrittenSet:
    """A finished set; ``paths`` are its discs in order."""

    media: MediaSet
    paths: tuple[Path, ...]
    signers: tuple[str, ...]


@dataclass
class _Work:
    """What is known so far; each verb of the story adds to it."""

    archive: Path
    output: Path
    options: MediaOptions
    head: Head
    manifest: BundleManifest
    size: int
    common: dict[str, bytes]
    signer: Optional[Signer] = None
    sums: Optional[SetSums] = None
    set_files: dict[str, bytes] = field(default_factory=dict)
    images: dict[str, DiscImage] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """``NAME-VERSION``, with which segments are named."""
        return f"{self.manifest.name}-{self.manifest.version}"


def make_media(
    archive: Path, output: Path, options: MediaOptions, signer: Optional[Signer], ports: MediaPorts
) -> WrittenSet:
    """Write the media set of ``archive`` into the empty folder ``output``.

    Raises ``ConfigError`` for a folder with older files or a medium too small, ``StorageError`` for a full disk,
    ``TrustError`` when the archive is not what its ``.sha256`` says. Nothing is left under a final name then.
    """
    work = _read_bundle(archive, output, options, signer)
    geometry = _cut(work)
    with part_folder(output) as parts:
        _check_space(work, geometry)
        with unchanged(archive), FileHash(archive) as whole:
            folders = _folders(parts, geometry, options)
            told = _told_hash(archive)
            if told is None and geometry.size > geometry.segments("v01")[0]:
                whole.start()
            with ports.progress("hash", work.size) as on_bytes:
                work.sums = read_archive(
                    archive, geometry, folders, stem=work.stem, durable=options.xorriso is None, on_bytes=on_bytes
                )
            whole.start(work.sums.begun)
            media = _describe(work, geometry, told or whole.result())
            made = _make_discs(work, media, parts)
            _compare_sidecar(archive, whole.result())
        ports.say("hashed", f"{archive}  {human(work.size)}  {whole.result()}")
        paths = _name_discs(work, media, made, ports)
    write_file(output / RECORD, _record(work, media))
    signers = (signer.label,) if signer else ()
    return WrittenSet(media, paths, signers)


def planned_discs(archive: Path, capacity: int, parity: int, loader: Optional[Path] = None) -> Geometry:
    """Return how ``media`` would cut ``archive``; what ``plan BUNDLE --medium`` prints."""
    work = _read_bundle(archive, Path(), MediaOptions(capacity, parity, loader), None)
    return _cut(work)


def _cut(work: _Work) -> Geometry:
    documents = [len(data) for path, data in work.common.items() if path.startswith("documents/")]
    loader = len(work.common.get(mediaset.LOADER, b""))
    counted = common_files(len(work.head.sums) + len(work.head.manifest), documents, loader)
    there = sum(len(data) for data in work.common.values()) - loader
    # More signatures beside the archive than a plan reckons with: they must fit as well.
    return cut(work.size, work.options.capacity, work.options.parity, replace(counted, size=max(counted.size, there)))


def _read_bundle(archive: Path, output: Path, options: MediaOptions, signer: Optional[Signer]) -> _Work:
    with FileSource(str(archive)) as source:
        head = read_head(source)
        manifest, _ = decode_manifest(head)
        opened = open_archive(source, head, manifest, find_decoder())
        first = len(opened.layout.members) - len(manifest.files)
        common = {
            file.path: b"".join(bytes(block) for block in opened.content(first + number))
            for number, file in enumerate(manifest.files)
            if file.path.startswith("documents/")
        }
        size = source.size
    common[f"bundle/{SUMS}"] = head.sums
    common[f"bundle/{MANIFEST}"] = head.manifest
    for label, data in [*head.signatures, *signatures_beside(archive)]:
        path = f"bundle/{SUMS}.{label}.sig"
        if common.setdefault(path, data) != data:
            common[f"bundle/{SUMS}.{label[:30]}-2.sig"] = data
    if options.loader is not None:
        common[mediaset.LOADER] = read_small_file(options.loader, mediaset.MAX_LOADER)
    if signer is not None:
        common[f"keys/{signer.label}.pub"] = signer.public.pem
    common["report.html"] = media_page(manifest, head, sorted(common))
    return _Work(archive, output, options, head, manifest, size, common, signer)


def _check_space(work: _Work, geometry: Geometry) -> None:
    data = work.size + geometry.m * geometry.share
    if work.options.xorriso is not None:
        data += geometry.m * geometry.share  # parity is written once as files, once into its images
    needed = data + len(geometry.names) * (sum(map(len, work.common.values())) + 2**20)
    require_space(work.output, needed)


def _told_hash(archive: Path) -> Optional[str]:
    """What the sidecar says the archive's hash is: the discs are written with it while it is proven."""
    sidecar = _sidecar(archive)
    told = read_small_file(sidecar)[:64].decode("ascii", "replace") if sidecar.is_file() else ""
    return told if is_hex(told) else None


def _sidecar(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.sha256")


def _compare_sidecar(archive: Path, sha256: str) -> None:
    sidecar = _sidecar(archive)
    if sidecar.is_file() and read_small_file(sidecar) != f"{sha256}  {archive.name}\n".encode("ascii"):
        raise TrustError(
            f"{archive} is not what {sidecar.name} says",
            why=f"its SHA-256 is {sha256}",
            hint="the archive was damaged or changed since it was built: get it again",
        )


def _folders(parts: Path, geometry: Geometry, options: MediaOptions) -> dict[str, Path]:
    """Where segments are written: an ISO image takes those of data discs straight from the archive."""
    names = [name for name in geometry.names if options.xorriso is None or name[0] == "p"]
    return {name: parts / name for name in names}


def _describe(work: _Work, geometry: Geometry, sha256: str) -> MediaSet:
    """Add the texts and lists to the common files and make ``set.json`` over all of them."""
    sums = work.sums
    if sums is None:
        raise RuntimeError("the archive is hashed before the set is described")
    volumes = sums.volumes(work.stem, geometry)
    index = sums.index()
    # What the texts call the key is its label: a path of this machine says nothing elsewhere.
    key = replace(work.signer.public, name=work.signer.label) if work.signer else None
    common = work.common
    common[mediaset.INDEX] = index
    common.update((mediaset.list_path(volume.name), mediaset.volume_list(volume)) for volume in volumes)
    common["README-VERIFY.txt"] = readme_verify(work.stem, sha256_hex(index), work.head.id, geometry.names, key)
    common["README-BY-HAND.txt"] = readme_by_hand(
        work.stem, sha256, work.manifest, signatures=work.head.signatures, parity=geometry.m > 0
    )
    media = MediaSet(
        format_version=1,
        set_id=sha256_hex(index),
        program=f"airgap-bundler {__version__}",
        bundle=SetBundle(work.head.id, work.manifest.name, work.manifest.version),
        archive=SetArchive(f"{work.stem}.tar.zst", work.size, sha256),
        chunk_size=mediaset.CHUNK,
        k=geometry.k,
        m=geometry.m,
        volumes=volumes,
        files=tuple(SetFile(path, len(data), sha256_hex(data)) for path, data in sorted(common.items())),
    )
    mediaset.check_media_set(media)
    return media


def _make_discs(work: _Work, media: MediaSet, parts: Path) -> list[Path]:
    """Write what every disc has, and the images; return each disc under its temporary name."""
    encoded = mediaset.encode(media)
    sums = mediaset.set_sums(media, encoded)
    work.set_files = {mediaset.SET: encoded, SUMS: sums}
    if work.signer is not None:
        work.set_files[f"{SUMS}.{work.signer.label}.sig"] = work.signer.sign(sums)
    files = {**work.common, **work.set_files}
    if work.options.xorriso is None:
        made = [parts / volume.name for volume in media.volumes]
        written = [path for folder in made for path in _write_files(folder, files)]
        with ThreadPoolExecutor(_SYNCING, thread_name_prefix="sync") as pool:
            list(pool.map(sync, written))
        return made
    _write_files(parts / "common", files)
    wanted = list(_contents(work, media, parts))
    work.images = {image.name[:3]: image for image in write_images(work.options.xorriso, wanted)}
    return [target for _, target in wanted]


def _name_discs(work: _Work, media: MediaSet, made: list[Path], ports: MediaPorts) -> tuple[Path, ...]:
    finals = tuple(work.output / path.name for path in made)
    for path, final in zip(made, finals):
        path.replace(final)
        ports.say("wrote", f"{final}  {mediaset.label(media.bundle, final.name[:3])}")
    return finals


def _contents(work: _Work, media: MediaSet, parts: Path) -> Iterator[tuple[DiscContent, Path]]:
    """What the image of each disc holds, and where it is written."""
    offset = 0
    for volume in media.volumes:
        is_data = volume.name[0] == "v"
        folders = [parts / "common"] if is_data else [parts / "common", parts / volume.name]
        cuts = [
            Cut(work.archive, offset + start, segment.size, segment.name)
            for start, segment in mediaset.spans(volume)
            if is_data
        ]
        content = DiscContent(mediaset.label(media.bundle, volume.name), work.manifest.created, folders, cuts)
        yield content, parts / f"{volume.name}.iso"
        offset += volume.size


def _write_files(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write ``files`` below ``folder``, not yet synced; return their paths."""
    for path, data in files.items():
        target = folder / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as stream:
                stream.write(data)
        except OSError as error:
            raise StorageError(f"cannot write {target}", why=error.strerror or str(error)) from error
    return [folder / path for path in files]


def _record(work: _Work, media: MediaSet) -> bytes:
    signers = {work.signer.label: work.signer.public.fingerprint} if work.signer else {}
    return transfer_record(media, work.manifest, sha256_hex(work.set_files[SUMS]), signers, work.images)
