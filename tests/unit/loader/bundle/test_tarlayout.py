from __future__ import annotations

import io
import string
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.bundle import tarlayout
from loader.bundle.errors import FormatError
from loader.bundle.limits import BIG_MEMBER, FRAME, MAX_MEMBER
from loader.bundle.manifest import File
from loader.bundle.tarlayout import OCTAL_LIMIT, Layout, Member

LETTERS = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=8)
PART = st.builds(lambda letters, times: letters * times + "x", LETTERS, st.integers(0, 12))
NAME = st.lists(PART, min_size=1, max_size=5).map("/".join)
SHORT = st.lists(LETTERS.map("x".__add__), min_size=1, max_size=10).map("/".join)
SIZE = st.integers(0, 2**20) | st.integers(OCTAL_LIMIT - 2, OCTAL_LIMIT + 2) | st.integers(0, MAX_MEMBER)


def fits(path: str) -> bool:
    """Whether a ustar header can hold ``path``, said another way."""
    cuts = [index for index, char in enumerate(path) if char == "/"]
    return len(path) <= 100 or any(cut <= 155 and len(path) - cut - 1 <= 100 for cut in cuts)


@given(NAME)
def test_a_safe_name_is_taken_if_a_header_can_hold_it(path: str) -> None:
    if fits(path):
        tarlayout.check_name(path)
        prefix, name = tarlayout.split_name(path)
        assert (f"{prefix}/{name}" if prefix else name) == path
    else:
        with pytest.raises(FormatError, match="too long"):
            tarlayout.check_name(path)


@given(st.text(max_size=20) | st.text("ab./\\\n \0", max_size=12))
def test_any_text_is_a_name_only_if_every_part_is_safe(path: str) -> None:
    safe = all(
        part not in {"", ".", ".."} and all(char.isascii() and (char.isalnum() or char in "._-") for char in part)
        for part in path.split("/")
    )
    if safe:
        tarlayout.check_name(path)
    else:
        with pytest.raises(FormatError, match="unsafe name"):
            tarlayout.check_name(path)


@given(NAME.filter(fits), SIZE)
def test_a_file_header_is_read_by_pythons_tarfile_as_meant(path: str, size: int) -> None:
    entry = tarfile.TarInfo.frombuf(tarlayout.header(path, size), "ascii", "strict")
    assert (entry.name, entry.size, entry.type, entry.linkname) == (path, size, tarfile.REGTYPE, "")
    assert (entry.mode, entry.uid, entry.gid, entry.mtime) == (0o644, 0, 0, 0)
    assert (entry.uname, entry.gname, entry.devmajor, entry.devminor) == ("", "", 0, 0)


@given(NAME.filter(fits), SHORT)
def test_a_link_header_is_read_by_pythons_tarfile_as_meant(path: str, target: str) -> None:
    entry = tarfile.TarInfo.frombuf(tarlayout.header(path, 0, target), "ascii", "strict")
    assert (entry.name, entry.size, entry.type, entry.linkname) == (path, 0, tarfile.LNKTYPE, target)


@given(SHORT, st.integers(0, OCTAL_LIMIT - 1))
def test_a_short_header_is_the_one_that_pythons_tarfile_writes(path: str, size: int) -> None:
    entry = tarfile.TarInfo(path)
    entry.size = size
    written = entry.tobuf(tarfile.USTAR_FORMAT)
    # Device fields of files are "0000000" here, and zero bytes in newer Pythons; the checksum follows.
    blank = written[:148] + b" " * 8 + written[156:329] + b"0000000\0" * 2 + written[345:]
    assert tarlayout.header(path, size) == blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


@given(SHORT, st.integers(0, OCTAL_LIMIT - 1))
def test_name_and_size_are_read_back(path: str, size: int) -> None:
    assert tarlayout.parse_name_and_size(tarlayout.header(path, size)) == (path, size)


@given(st.integers(0, 511), st.integers(0, 255))
def test_a_header_with_any_byte_changed_is_refused_or_another_good_one(at: int, value: int) -> None:
    block = bytearray(tarlayout.header("SHA256SUMS", 1234))
    block[at] = value
    try:
        name, size = tarlayout.parse_name_and_size(bytes(block))
    except FormatError:
        return
    assert tarlayout.header(name, size) == bytes(block)


def test_a_split_name_is_not_for_the_head() -> None:
    with pytest.raises(FormatError):
        tarlayout.parse_name_and_size(tarlayout.header("a" * 60 + "/" + "b" * 60, 1))


def test_the_first_slash_that_fits_is_the_cut() -> None:
    assert tarlayout.split_name("a/" * 60 + "b") == ("/".join("a" * 11), "a/" * 49 + "b")
    assert tarlayout.split_name("p" * 155 + "/" + "n" * 100) == ("p" * 155, "n" * 100)
    for path in ("p" * 156 + "/" + "n" * 100, "p" * 155 + "/" + "n" * 101, "n" * 101):
        with pytest.raises(FormatError, match="too long"):
            tarlayout.split_name(path)


def test_a_link_target_has_the_name_field_only() -> None:
    assert tarlayout.header("b", 0, "t" * 100)[157:257] == b"t" * 100
    with pytest.raises(FormatError, match="link target"):
        tarlayout.header("b", 0, "t" * 101)


def test_sizes_are_octal_below_8_gib_and_base_256_from_there_on() -> None:
    assert tarlayout.header("a", OCTAL_LIMIT - 1)[124:136] == b"77777777777\0"
    assert tarlayout.header("a", OCTAL_LIMIT)[124:136] == b"\x80\0\0\0\0\0\0\x02\0\0\0\0"


EDGES = [
    0,
    1,
    511,
    512,
    513,
    BIG_MEMBER - 1,
    BIG_MEMBER,
    BIG_MEMBER + 1,
    FRAME - 512,
    FRAME - 1,
    FRAME,
    FRAME + 1,
    3 * FRAME,
]
MEMBERS = st.lists(
    st.tuples(st.sampled_from(EDGES) | st.integers(0, 3 * FRAME), st.sampled_from(["raw", "zstd"]), st.booleans()),
    min_size=1,
    max_size=12,
).map(
    lambda rows: [
        Member(f"m{number}", size, stored, "m0" if link and number else None)
        for number, (size, stored, link) in enumerate(rows)
    ]
)


@given(MEMBERS)
def test_frames_cover_the_stream_once_and_big_members_alone(members: list[Member]) -> None:
    layout = Layout(members)
    position = 0
    for frame in layout.frames:
        assert frame.offset == position
        assert 1 <= frame.size <= FRAME
        position += frame.size
    assert position == layout.end
    for index, member in enumerate(members):
        own = layout.frame_of.get(index)
        assert (own is not None) == (member.link_to is None and member.size >= BIG_MEMBER)
        if own is not None:
            frames = layout.frames[own.first : own.stop]
            assert frames[0].offset == layout.content_offset(index)
            assert sum(frame.size for frame in frames) == member.size
            assert {frame.size for frame in frames[:-1]} <= {FRAME}
            assert {frame.stored for frame in frames} == {member.stored}


@given(MEMBERS)
def test_spans_are_the_frames_in_order(members: list[Member]) -> None:
    layout = Layout(members)
    assert [number for span in layout.spans for number in range(span.first, span.stop)] == list(
        range(len(layout.frames))
    )
    assert all(span.first < span.stop for span in layout.spans)
    assert {frame.stored for s in layout.spans if s.member < 0 for frame in layout.frames[s.first : s.stop]} == {"raw"}


@given(MEMBERS)
def test_places_and_length_follow_from_the_sizes(members: list[Member]) -> None:
    layout = Layout(members)
    files = [File(m.path, m.size, "", None if m.link_to else m.stored, m.link_to) for m in members]
    assert layout.end == tarlayout.payload_size(files)
    for index, start in enumerate(layout.starts):
        assert start % 512 == 0
        assert layout.member_at(start) == index
        after = start + tarlayout.padded_size(members[index].size, members[index].link_to)
        assert layout.member_at(after - 1) == index
        assert (layout.starts[index + 1] if index + 1 < len(members) else layout.end - 1024) == after


def test_a_stream_laid_out_is_read_by_pythons_tarfile() -> None:
    contents = {"a": b"", "b/c": b"x" * 512, "b/d": b"y" * 513}
    members = [Member(path, len(data), "raw") for path, data in contents.items()]
    members.append(Member("b/e", 512, "raw", "b/c"))
    layout = Layout(members)
    stream = bytearray(layout.end)
    for index, member in enumerate(members):
        stream[layout.starts[index] : layout.content_offset(index)] = layout.literal_header(index)
        if member.link_to is None:
            at = layout.content_offset(index)
            stream[at : at + member.size] = contents[member.path]
    with tarfile.open(fileobj=io.BytesIO(stream)) as tar:
        found = {entry.name: tar.extractfile(entry) for entry in tar}
        assert {name: file.read() for name, file in found.items() if file} == {**contents, "b/e": contents["b/c"]}


@pytest.mark.parametrize("size", [-1, MAX_MEMBER + 1])
def test_an_impossible_size_has_no_layout(size: int) -> None:
    with pytest.raises(FormatError, match="m0 has an impossible size"):
        Layout([Member("m0", size, "raw")])
