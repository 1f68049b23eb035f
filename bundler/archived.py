"""A finished archive as the subject of a plan."""

from __future__ import annotations

from pathlib import Path

from bundler.plan import Subject
from loader.bundle.filesource import FileSource
from loader.bundle.head import read_head
from loader.bundle.prediction import decode_manifest, open_archive
from loader.zstd import find_decoder


def archived(path: Path) -> Subject:
    """Return what the archive at ``path`` says of itself; its form is checked, its signatures are not."""
    with FileSource(str(path)) as source:
        head = read_head(source)
        manifest, _ = decode_manifest(head)
        archive = open_archive(source, head, manifest, find_decoder())
        index = {member.path: number for number, member in enumerate(archive.layout.members)}
        documents = {
            item.path: b"".join(bytes(block) for block in archive.content(index[item.path]))
            for item in manifest.documents
        }
        return Subject(manifest, head, source.size, True, documents)
