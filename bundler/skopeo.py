"""Images of other transports, copied by skopeo into a private folder that goes away on every way out."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from bundler.imagelist import ConfigImage
from bundler.origin import NEW_DIGEST, TRANSPORTS, SkopeoOrigin
from loader.bundle.errors import ClusterError, ConfigError, StorageError
from loader.cluster.process import Runner
from loader.space import require_space

# A copy is local; an image of 100 GB on a slow disk ends well before this.
_TIMEOUT = 6 * 3600.0
_LAST_LINES = 3


@dataclass(frozen=True)
class Skopeo:
    """The program (None where there is none), what runs it, and the folder that temporary files go to."""

    program: Optional[str]
    run: Runner
    temporary: Path


@contextlib.contextmanager
def copied_layouts(images: Iterable[ConfigImage], skopeo: Skopeo) -> Iterator[Mapping[SkopeoOrigin, Path]]:
    """Copy every image that only skopeo can read, each place once, and yield where its ``dir:`` layout is.

    Raises ``ConfigError`` with skopeo's own words, ``StorageError`` for a full or missing temporary folder.
    """
    first: dict[SkopeoOrigin, ConfigImage] = {}
    for image in images:
        if isinstance(image.origin, SkopeoOrigin):
            first.setdefault(image.origin, image)
    if not first:
        yield {}
        return
    if skopeo.program is None:
        image = next(iter(first.values()))
        raise ConfigError(
            f"image {image.name}: {image.origin} needs skopeo",
            why="skopeo is not on PATH",
            hint="apt-get install skopeo, or dnf install skopeo; dir: and docker:// need no other program",
        )
    _check_space(first, skopeo.temporary)
    try:
        folder = Path(tempfile.mkdtemp(prefix="airgap-bundler-", dir=skopeo.temporary))
    except OSError as error:
        raise StorageError(
            f"cannot write {skopeo.temporary}", why=error.strerror or str(error), hint="name another folder in TMPDIR"
        ) from error
    try:
        layouts = {}
        for number, image in enumerate(first.values()):
            assert isinstance(image.origin, SkopeoOrigin)  # noqa: S101 - only such were taken above
            layouts[image.origin] = folder / f"{number:04d}"
            _copy(image, image.origin, layouts[image.origin], skopeo)
        yield layouts
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_digests(images: Iterable[ConfigImage]) -> list[str]:
    """Return a line for each image whose digest is made here, not by a registry."""
    return [
        f"{image.name}: {image.origin} has no registry manifest; skopeo makes one, and its digest is not upstream's"
        for image in images
        if isinstance(image.origin, SkopeoOrigin) and image.origin.transport in NEW_DIGEST
    ]


def _check_space(origins: Iterable[SkopeoOrigin], temporary: Path) -> None:
    archives = [Path(origin.location.partition(":")[0]) for origin in origins if TRANSPORTS[origin.transport]]
    needed = sum(path.stat().st_size for path in archives if path.is_file())
    require_space(temporary, needed, option="in TMPDIR")


def _copy(image: ConfigImage, origin: SkopeoOrigin, target: Path, skopeo: Skopeo) -> None:
    # What has no manifest of a registry has uncompressed layers under compressed media types: compress them.
    how = ["--dest-compress"] if origin.transport in NEW_DIGEST else ["--all", "--preserve-digests"]
    argv = [str(skopeo.program), "--tmpdir", str(target.parent), "copy", "--quiet", *how, str(origin), f"dir:{target}"]
    try:
        done = skopeo.run(argv, stdin=b"", timeout=_TIMEOUT)
    except ClusterError as error:
        # The runner's words are about clusters; the program is ours to name.
        raise ConfigError(f"image {image.name}: skopeo copy {origin} failed", why=error.message) from error
    if done.status:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()[-_LAST_LINES:]
        raise ConfigError(
            f"image {image.name}: skopeo cannot copy {origin}",
            why=" ".join(words) or f"exit status {done.status}",
            hint=f"line {image.line} of the config says where it is",
        )
