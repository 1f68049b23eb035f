"""The archive of a build: what a stopped one left, the rest fetched, written, and checked close behind the writer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence

from bundler.compose import Composition
from bundler.fetch import BlobRequest, Fetcher
from bundler.output import Partial
from bundler.pack import ArchiveWriter, Chunk, chunks_of, head_members, largest_archive, layout_members
from bundler.resolve import ImageSource, ResolvedImage
from bundler.resume import Kept, keep_proven
from bundler.selfcheck import SelfCheck, own_trust
from loader.bundle.errors import StorageError, TrustError
from loader.bundle.limits import BIG_MEMBER
from loader.bundle.manifest import File
from loader.bundle.ocimanifest import Descriptor
from loader.bundle.tarlayout import Layout
from loader.meter import Meter, Progress
from loader.signing import Signer
from loader.space import require_space
from loader.units import human
from loader.writeback import WriteBack

Say = Callable[[str, str], None]


class Packing:
    """Packs ``planned`` into ``partial``; ``jobs`` connections fetch."""

    def __init__(
        self,
        partial: Partial,
        planned: Composition,
        resolved: Sequence[ResolvedImage],
        signers: Sequence[Signer],
        *,
        jobs: int,
    ) -> None:
        self._partial = partial
        self._planned = planned
        self._resolved = resolved
        self._trust = own_trust(planned.head, signers)
        self._layout = Layout(layout_members(planned.head, planned.manifest.files))
        self._jobs = jobs

    def run(self, say: Say, progress: Progress) -> str:
        """Write the archive, verify it as any loader does, sync it, and return its SHA-256."""
        self._check_space()
        kept = self._resumed(say)
        try:
            return self._write(kept, progress)
        except TrustError:
            if not kept.begun:
                raise
        say("resumed", "what a stopped build left of a layer does not fit its rest: all of it is fetched anew")
        return self._write(kept.without_begun(self._partial), progress)

    def _check_space(self) -> None:
        layout = self._layout
        size = largest_archive(layout)
        require_space(self._partial.path.parent, size, have=os.fstat(self._partial.fd).st_size)

    def _resumed(self, say: Say) -> Kept:
        """Go on from what a stopped build left, as far as it is proven good."""
        left = os.fstat(self._partial.fd).st_size
        kept = keep_proven(self._partial, self._planned.head, self._planned.manifest.files)
        if left:
            reused = f"{human(kept.proven)} of it proven good" if kept.proven else "nothing of it can be used"
            say("resumed", f"{self._partial.path.name} of a stopped build, {human(left)}: {reused}")
        return kept

    def _write(self, kept: Kept, progress: Progress) -> str:
        """Write and verify what is missing behind ``kept``."""
        partial = self._partial
        write_back = WriteBack(partial.fd, str(partial.path))
        self_check = SelfCheck(str(partial.path), self._layout, *self._trust)

        def wrote(size: int) -> None:
            write_back.wrote(size)
            self_check.wrote(size)

        files = self._planned.manifest.files[kept.members :]
        texts, requests = self._at_hand(files, kept.begun or 0)
        total = sum(request.size - request.start for request in requests)
        fetcher = Fetcher(requests, jobs=self._jobs)
        writer = ArchiveWriter(partial.fd, str(partial.path), wrote)
        with progress("pack", total) as meter, write_back, self_check, fetcher:
            if kept.proven:
                writer.adopt(kept.size, kept.frames, kept.glue)
            else:
                for name, data in head_members(self._planned.head):
                    writer.text(name, data)
            begun = kept.begun
            blobs = fetcher.blobs()
            for file in files:
                text = texts.get(file.path)
                if file.link_to is not None:
                    writer.link(file.path, file.link_to)
                elif text is None:
                    fetched = _counted(next(blobs)[1], file, begun or 0, meter)
                    writer.blob(file, fetched, begun=begun is not None)
                elif begun is None:
                    writer.text(file.path, text)
                else:
                    writer.blob(file, chunks_of(text, begun), begun=True)
                begun = None
            writer.finish()
            os.fsync(partial.fd)
            proof, sha256 = self_check.complete()
            if proof.bundle.head != self._planned.head:
                raise StorageError(
                    f"{partial.path} was read back with another head",
                    why="this disk does not give back what was written to it",
                    hint="check this disk",
                )
        return sha256

    def _at_hand(self, files: Sequence[File], begun: int) -> tuple[Mapping[str, bytes], list[BlobRequest]]:
        """What ``files`` hold as far as it is here, by path, and what is to be fetched for the others, in their order.

        Of the first of them ``begun`` bytes are written.
        """
        texts, requests = self._planned.texts, []
        sources = _blob_sources(self._resolved)
        known = {digest: data for image in self._resolved for digest, data in image.blobs.items()}
        for file in files:
            digest = "sha256:" + file.sha256
            if file.link_to is None and file.path not in texts:
                if digest in known:
                    texts[file.path] = known[digest]
                else:
                    start = begun if file is files[0] else 0
                    requests.append(BlobRequest(sources[digest], digest, file.size, file.stored == "zstd", start))
        return texts, requests


def _blob_sources(resolved: Sequence[ResolvedImage]) -> Mapping[str, ImageSource]:
    sources: dict[str, ImageSource] = {}
    for image in resolved:
        blobs: list[Descriptor] = []
        for parsed in image.all_manifests:
            # Who calls a layer foreign need not have it; another image may name it as its own.
            layers = [layer for layer in parsed.layers if not layer.foreign]
            blobs += [*([parsed.config] if parsed.config else []), *layers]
        for blob in blobs:
            sources.setdefault(blob.digest, image.source)
    return sources


def _counted(chunks: Iterator[Chunk], file: File, done: int, meter: Meter) -> Iterator[Chunk]:
    """Tell ``meter`` of a blob of which ``done`` bytes are written."""
    for chunk in chunks:
        yield chunk
        done += len(chunk.content)
        meter(len(chunk.content))
        if file.size >= BIG_MEMBER:
            meter.item(file.sha256[:12], done, file.size)
