"""Discs that the kernel can't read everywhere: EIO in the middle of a segment, in a list, and of a disc pulled out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from loader.bundle.archive import read_exact
from loader.bundle.mediaset import CHUNK
from loader.media.iso9660 import IsoDisc
from loader.media.places import ImageFile
from tests.support.badmedium import bad_medium
from tests.support.bundles import full_recipe, make_signer, private_pem
from tests.support.cli import Cli, Ran

TRUST = ("--trust", "builder.pub")
ARCHIVE = "demo-1.tar.zst"
PAGE = 4096


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A bundle on two data discs and one of parity, as images."""
    folder = tmp_path_factory.mktemp("bad-medium")
    cli = Cli(folder, path=os.environ["PATH"])
    signer = make_signer("builder")
    (folder / "builder.pub").write_bytes(signer.public.pem)
    (folder / "builder.key").write_bytes(private_pem(signer._private))
    (folder / ARCHIVE).write_bytes(full_recipe().archive())
    cli.bundler(
        "media", ARCHIVE, "-o", "set", "--volume-size", "4MiB", "--parity", "1", "--key", "builder.key", "--iso"
    ).expect()
    return cli


def image(cli: Cli, name: str) -> bytes:
    return (cli.folder / f"set/{name}.iso").read_bytes()


def pages(data: bytes, content: bytes, skip: int = 0) -> set[int]:
    """The page in ``data`` that is ``skip`` bytes behind where ``content`` begins."""
    where = data.find(content)
    assert where > 0
    return {(where + skip) // PAGE}


def verify(cli: Cli, *discs: Path) -> Ran:
    return cli.loader("verify", *discs, *TRUST, "--no-prompt")


def test_a_scratch_is_healed_and_told(cli: Cli, tmp_path: Path) -> None:
    data, archive = image(cli, "v01"), (cli.folder / ARCHIVE).read_bytes()
    scratched, others = tmp_path / "sr0", (cli.folder / "set/v02.iso", cli.folder / "set/p01.iso")
    with bad_medium(scratched, data, pages(data, archive[:2000], 2 * CHUNK + 9999)) as medium:
        ran = verify(cli, scratched, *others).expect()
        assert "disc v01: 1 of 3 chunks unreadable, 1 made from parity" in ran.out
        assert "Input/output error" in ran.out
        assert medium.errors
        checked = cli.bundler("media", "--check", scratched).expect(5)
        assert "v01 chunk 2: Input/output error" in checked.out
        cli.loader("join", scratched, *others, "-o", tmp_path / "joined", *TRUST).expect()
        assert (tmp_path / "joined").read_bytes() == archive
        alone = " ".join(verify(cli, scratched, others[0]).expect(5).three_lines)
        assert "v01: 1 of 3 chunks unreadable" in alone


def test_a_list_that_cannot_be_read_leaves_the_segments_of_use(cli: Cli, tmp_path: Path) -> None:
    data, scratched = image(cli, "v01"), tmp_path / "sr0"
    # The line of the index stands in the set's list alone.
    index = next(line for line in read_list(cli.folder / "set/v02.iso").splitlines() if line.endswith(b"chunks.idx"))
    with bad_medium(scratched, data, pages(data, index)):
        ran = verify(cli, scratched, cli.folder / "set/v02.iso").expect()
        assert "Input/output error" in ran.out


def test_a_text_that_cannot_be_read_costs_nothing_but_the_disc_is_not_good(cli: Cli, tmp_path: Path) -> None:
    scratched = tmp_path / "sr0"
    data = image(cli, "v01")
    with bad_medium(scratched, data, pages(data, b"CHECK THIS DISC WITH STOCK TOOLS")):
        told = f"{scratched}: README-VERIFY.txt can't be read (Input/output error)"
        ran = verify(cli, scratched, cli.folder / "set/v02.iso").expect()
        assert f"warning   {told}" in ran.out
        ran = cli.loader("verify", scratched, cli.folder / "set/v02.iso", *TRUST, "--json").expect()
        assert ran.json["healable"] is True
        assert told in ran.json["media"]["notes"]
        checked = cli.bundler("media", "--check", scratched).expect(5)
        assert checked.three_lines[0] == f"error: {told}"


def read_list(path: Path) -> bytes:
    with ImageFile(str(path)) as source:
        listed = IsoDisc(source, str(path)).open("SHA256SUMS")
        return bytes(read_exact(listed, 0, listed.size))


def test_a_disc_that_is_pulled_out_while_it_is_read(cli: Cli, tmp_path: Path) -> None:
    tray, others = tmp_path / "sr0", (cli.folder / "set/v02.iso", cli.folder / "set/p01.iso")
    with bad_medium(tray, image(cli, "v01"), reads=20) as medium:
        ran = verify(cli, tray, *others).expect()
        assert "made from parity" in ran.out
        assert medium.errors
    with bad_medium(tray, image(cli, "v01"), reads=20):
        text = " ".join(verify(cli, tray, others[0]).expect(5).three_lines)
        assert "v01" in text
