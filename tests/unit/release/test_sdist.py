from __future__ import annotations

import io
import tarfile
from pathlib import Path

from release.sdist import settle


def make(path: Path, *, names: list[str], mtime: float, owner: str) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            entry = tarfile.TarInfo(name)
            if name.endswith("/"):
                entry.type, entry.mode = tarfile.DIRTYPE, 0o775
            else:
                entry.size, entry.mode = len(name), 0o664
            entry.mtime, entry.uname, entry.uid = mtime, owner, len(owner)
            tar.addfile(entry, io.BytesIO(name.encode()))
    return path


def test_when_and_by_whom_it_was_made_is_not_in_it(tmp_path: Path) -> None:
    one = make(tmp_path / "one.tar.gz", names=["a/", "a/x", "a/" + "y" * 120], mtime=1e9 + 0.25, owner="me")
    two = make(tmp_path / "two.tar.gz", names=["a/", "a/" + "y" * 120, "a/x"], mtime=2e9, owner="somebody")
    assert one.read_bytes() != two.read_bytes()
    for path in (one, two):
        settle(path, 315532800)
    assert one.read_bytes() == two.read_bytes()
    with tarfile.open(one) as tar:
        found = {entry.name: entry for entry in tar}
        assert {entry.mtime for entry in found.values()} == {315532800}
        content = tar.extractfile("a/x")
        assert content is not None
        assert content.read() == b"a/x"
    assert (found["a"].mode, found["a/x"].mode) == (0o755, 0o644)
