"""The verifier: the numbered steps of format.md section 2, and the only maker of the two trust types.

Steps 1 to 5 give a :class:`VerifiedBundle`: identity, manifests, documents, and blobs through hashing
readers only. Steps 6 and 7 give :class:`Complete`: every byte of the archive was read and checked.
"""

from __future__ import annotations

import functools
import threading
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Optional

from loader.bundle.archive import Archive, ByteSource, Counting, Doubt
from loader.bundle.errors import TrustError
from loader.bundle.frames import FrameDecoder
from loader.bundle.graph import ImageGraph
from loader.bundle.head import Head, read_head
from loader.bundle.keys import PublicKey, SignatureCheck
from loader.bundle.limits import MAX_MANIFEST
from loader.bundle.listed import ListedFiles, Nowhere, listed_graphs
from loader.bundle.manifest import BundleManifest, File
from loader.bundle.pieces import Tie
from loader.bundle.policy import TrustPolicy
from loader.bundle.prediction import decode_manifest, open_archive, walk_graph

_SEAL = object()


@dataclass(frozen=True)
class Signer:
    """A trusted key that signed, under the trust directory's name; the label its signature came with, and that."""

    key: PublicKey
    label: str
    signature: bytes


@dataclass(frozen=True)
class Trust:
    """Who decides and how: the policy, a signature backend, the time now (``YYYY-MM-DDTHH:MM:SSZ``)."""

    policy: TrustPolicy
    check: SignatureCheck
    now: str


class VerifiedBundle:
    """A bundle whose head, signatures, manifest, graph and policy were checked (steps 1-5)."""

    def __init__(
        self,
        seal: object,
        *,
        head: Head,
        manifest: BundleManifest,
        files: Mapping[str, File],
        archive: Archive,
        graphs: Mapping[str, ImageGraph],
        signers: Sequence[Signer],
        warnings: Sequence[str],
        threshold: int,
    ) -> None:
        if seal is not _SEAL:
            raise RuntimeError("only the verifier makes a VerifiedBundle")
        self.head = head
        self.manifest = manifest
        self.files = files
        self.graphs = graphs
        self.signers = tuple(signers)
        self.warnings = tuple(warnings)
        self.threshold = threshold
        self._archive = archive

    # Made by the first who reads a member again: who only verifies needs no table of 20,000.
    @functools.cached_property
    def _index(self) -> Mapping[str, int]:
        first = len(self._archive.layout.members) - len(self.manifest.files)
        return {file.path: first + number for number, file in enumerate(self.manifest.files)}

    @functools.cached_property
    def _blob_path(self) -> Mapping[str, str]:
        return {file.sha256: file.path for file in self.manifest.files if file.link_to is None}

    @property
    def id(self) -> str:
        """The bundle id, 64 hex digits."""
        return self.head.id

    @property
    def size(self) -> int:
        """Length of the archive in bytes."""
        return self._archive.size

    @property
    def unpacked(self) -> int:
        """Bytes of the tar stream in it: as many as are told of while it is verified."""
        return self._archive.layout.end

    @property
    def stored(self) -> ByteSource:
        """The archive as it is stored, unchecked: for a hash in a record, never for use."""
        return self._archive.source

    def read(self, path: str) -> bytes:
        """Return the whole of a small member (document, manifest), checked against its SHA-256."""
        file = self.files[path]
        if file.size > MAX_MANIFEST:
            raise RuntimeError(f"{path} is too large to be read whole")
        return b"".join(bytes(block) for block in self.open(path))

    def open(self, path: str) -> Iterator[memoryview]:
        """Yield the content of a member in blocks, each valid until the next; a wrong byte raises ``TrustError``."""
        file = self.files[path]
        return self._archive.content(self._index[file.link_to or path])

    def has_blob(self, digest: str) -> bool:
        """Whether the archive carries the blob."""
        return digest[7:] in self._blob_path

    def open_blob(self, digest: str, start: int = 0, stop: Optional[int] = None) -> Iterator[memoryview]:
        """Yield the content of a blob, or bytes ``start`` to ``stop`` of it, in blocks, each valid until the next.

        A part can be had once the whole was read: of a ``Complete`` bundle.
        """
        return self._archive.content(self._index[self._blob_path[digest[7:]]], start, stop)

    def blob_size(self, digest: str) -> int:
        """Length of a blob in bytes."""
        return self.files[self._blob_path[digest[7:]]].size

    def position(self, digest: str) -> int:
        """A number that grows in archive order, to read blobs in the order they stand."""
        return self._index[self._blob_path[digest[7:]]]


class Complete:
    """Proof that every byte of the archive was read and checked (steps 6 and 7)."""

    def __init__(self, seal: object, bundle: VerifiedBundle) -> None:
        if seal is not _SEAL:
            raise RuntimeError("only the verifier makes a Complete")
        self.bundle = bundle


def verify_head(
    source: ByteSource,
    trust: Trust,
    decoder: FrameDecoder,
    *,
    beside: Sequence[tuple[str, bytes]] = (),
    told: Optional[dict[int, int]] = None,
    tie: Optional[Tie] = None,
) -> VerifiedBundle:
    """Do steps 1 to 5 on ``source``; ``beside`` are further (label, signature) from outside the archive.

    With ``told`` (see :class:`Archive`) its end is not read, and :class:`OnePass` does the rest. ``tie`` makes a
    second reading cheap; without it that costs a hash.
    Raises ``TrustError`` or ``FormatError``; nothing of the bundle is used before its signatures hold.
    """
    head = read_head(source)  # steps 1 and 2
    signers = verify_signatures(head, trust, beside)  # step 3
    manifest, files = decode_manifest(head)  # step 4
    archive = open_archive(source, head, manifest, decoder, told=told, tie=tie)
    graphs = walk_graph(archive, manifest, files)  # step 4b
    return _judged(head, manifest, trust, files=files, archive=archive, graphs=graphs, signers=signers)  # step 5


def verify_listed(
    head: Head, trust: Trust, source: Nowhere, read: Callable[[str], bytes], *, beside: Sequence[tuple[str, bytes]]
) -> VerifiedBundle:
    """Do steps 3 to 5 but 4b on the ``head`` that stands on every disc; ``read`` gives its documents by path.

    Nothing but the documents can be read from what is returned; its graphs are what the signed list names.
    """
    signers = verify_signatures(head, trust, beside)
    manifest, files = decode_manifest(head)
    archive, graphs = ListedFiles(source, manifest, read), listed_graphs(manifest)
    return _judged(head, manifest, trust, files=files, archive=archive, graphs=graphs, signers=signers)


def _judged(
    head: Head,
    manifest: BundleManifest,
    trust: Trust,
    *,
    files: Mapping[str, File],
    archive: Archive,
    graphs: Mapping[str, ImageGraph],
    signers: Sequence[Signer],
) -> VerifiedBundle:
    rule = trust.policy.judge(manifest.name, [signer.key for signer in signers])
    warning = trust.policy.judge_not_after(manifest.not_after, trust.now)
    return VerifiedBundle(
        _SEAL,
        head=head,
        manifest=manifest,
        files=files,
        archive=archive,
        graphs=graphs,
        signers=signers,
        warnings=[warning] if warning else [],
        threshold=rule.needed,
    )


def verify_signatures(head: Head, trust: Trust, beside: Sequence[tuple[str, bytes]] = ()) -> list[Signer]:
    """Step 3 for a bundle's own list and the signatures that came with it."""
    return verify_list(head.sums, [*head.signatures, *beside], trust, "bundle")


def verify_list(sums: bytes, candidates: Sequence[tuple[str, bytes]], trust: Trust, what: str) -> list[Signer]:
    """Try every (label, signature) over ``sums`` with every usable key and return each key that signed once.

    Raises ``TrustError`` when none did; ``what`` is what the list is of.
    """
    signers: dict[str, Signer] = {}
    for label, signature in candidates:
        for key in trust.policy.usable:
            if key.fingerprint in signers or not key.has_shape(signature):
                continue
            if trust.check.verify(key, signature, sums):
                signers[key.fingerprint] = Signer(key, label, signature)
                break
    if not signers:
        labels = ", ".join(label for label, _ in candidates) or "none"
        raise TrustError(
            f"no trusted key signed this {what}",
            why=f"signatures: {labels}; keys tried: {', '.join(key.name for key in trust.policy.usable)}",
            hint="compare the fingerprint on the paper slip with your trusted keys"
            if candidates
            else "no signature came with it: bring its NAME.sig file along, or give --signature FILE",
        )
    return list(signers.values())


def verify_content(
    bundle: VerifiedBundle, *, jobs: int = 2, on_bytes: Optional[Counting] = None, doubt: Optional[Doubt] = None
) -> Complete:
    """Do steps 6 and 7: read and check every frame with ``jobs`` threads; ``on_bytes`` gets each span's unpacked bytes.

    Raises the first error any worker met; the others stop at their next block. ``doubt`` as for ``prove_span``.
    """
    archive = bundle._archive  # noqa: SLF001 - the verifier owns both types
    stop = threading.Event()
    with ThreadPoolExecutor(jobs, thread_name_prefix="verify") as pool:
        work = [
            pool.submit(archive.prove_span, span, on_bytes or _ignore, stop.is_set, doubt)
            for span in archive.layout.spans
        ]
        try:
            done, _ = wait(work, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        finally:
            stop.set()
            for future in work:
                future.cancel()
    return Complete(_SEAL, bundle)


class OnePass:
    """Steps 6 and 7 span by span, for a medium in one drive; the number after the last span is the archive's end.

    ``known`` are spans that an earlier run of this loader checked, as its state folder says.
    """

    def __init__(self, bundle: VerifiedBundle, known: Collection[int] = ()) -> None:
        self.bundle = bundle
        self._archive = bundle._archive  # noqa: SLF001 - the verifier owns both types
        self._left = dict.fromkeys(
            number for number in range(len(self._archive.layout.spans) + 1) if number not in known
        )

    @property
    def left(self) -> list[int]:
        """The spans that are still to be checked, in archive order, and the end."""
        return sorted(self._left)

    @property
    def end(self) -> int:
        """The number that stands for the archive's end."""
        return len(self._archive.layout.spans)

    def is_left(self, number: int) -> bool:
        """Tell whether a span is still to be checked."""
        return number in self._left

    @property
    def told(self) -> Mapping[int, int]:
        """Stored sizes of ``zstd`` frames found so far, for a later run."""
        return self._archive.told

    def blobs(self) -> dict[str, int]:
        """Digest of every file's content -> the span that it stands in."""
        layout = self._archive.layout
        begins = [layout.frames[span.first].offset for span in layout.spans]
        return {
            "sha256:" + self._archive.expected[index]: bisect_right(begins, layout.content_offset(index)) - 1
            for index, member in enumerate(layout.members)
            if member.link_to is None
        }

    def is_big(self, number: int) -> bool:
        """Tell whether a span is one big file's own."""
        return number < self.end and self._archive.layout.spans[number].member >= 0

    def start(self, number: int) -> int:
        """Where a span, or the end, begins in the archive."""
        spans = self._archive.layout.spans
        return self._archive.offset(spans[number].first if number < len(spans) else spans[-1].stop)

    def frames(self, number: int) -> Iterator[tuple[int, int, bool]]:
        """Yield (where it ends in the archive, bytes of content, whether that is sure) of each frame of a span."""
        return self._archive.ends(self._archive.layout.spans[number])

    def check(
        self, number: int, on_bytes: Callable[[int], None], on_small: Callable[[str, bytes], None] = lambda _, __: None
    ) -> None:
        """Read and check a span, or the end; ``on_small`` gets (digest, content) of small files as they come by."""
        if number == self.end:
            self._archive.check_end()
        else:

            def tell(index: int, content: bytes) -> None:
                on_small("sha256:" + self._archive.expected[index], content)

            self._archive.check_span(self._archive.layout.spans[number], on_bytes, bool, tell)
        self._left.pop(number, None)

    def content(self, number: int) -> Iterator[memoryview]:
        """Yield the blob that fills a span, in blocks, each valid until the next; read to its end it is checked."""
        yield from self._archive.content(self._archive.layout.spans[number].member)
        self._left.pop(number, None)

    def consult_table(self) -> None:
        """Find every frame by the seek table at the archive's end, where one that can't be read hides the next."""
        self._archive.consult_table()

    def complete(self, waived: Collection[int] = ()) -> Complete:
        """Return the proof; all was checked but ``waived`` spans, whose blobs a registry holds under their digests."""
        if self._left.keys() - set(waived):
            raise RuntimeError(f"{len(self._left)} spans were not checked")
        return Complete(_SEAL, self.bundle)


def _ignore(_: int) -> None:
    return
