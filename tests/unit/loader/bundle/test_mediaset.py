"""``set.json``: what it may say, and the lists that are made from it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from loader.bundle import mediaset, strictjson
from loader.bundle.errors import FormatError
from loader.bundle.mediaset import CHUNK, MediaSet, SetFile
from tests.support.discs import MadeSet, bundle_set, make_set
from tests.support.refusals import refused

HEX = "0" * 64
SCHEMA = Path(__file__).resolve().parents[4] / "schemas/media-set.v1.json"


def edited(media: MediaSet, path: str, **fields: Any) -> MediaSet:
    """The same with one entry of ``files[]`` changed."""
    files = tuple(dataclasses.replace(file, **fields) if file.path == path else file for file in media.files)
    return dataclasses.replace(media, files=tuple(sorted(files, key=lambda file: file.path)))


def with_file(media: MediaSet, path: str, size: int = 1) -> MediaSet:
    files = sorted([*media.files, SetFile(path, size, HEX)], key=lambda file: file.path)
    return dataclasses.replace(media, files=tuple(files))


def without(media: MediaSet, path: str) -> MediaSet:
    return dataclasses.replace(media, files=tuple(file for file in media.files if file.path != path))


def with_segment(media: MediaSet, number: int, **fields: Any) -> MediaSet:
    """The same with a segment of v01 changed."""
    volume = media.volumes[0]
    segments = tuple(dataclasses.replace(s, **fields) if i == number else s for i, s in enumerate(volume.segments))
    return dataclasses.replace(media, volumes=(dataclasses.replace(volume, segments=segments), *media.volumes[1:]))


def part(media: MediaSet, which: str, **fields: Any) -> MediaSet:
    return dataclasses.replace(media, **{which: dataclasses.replace(getattr(media, which), **fields)})


GOOD = bundle_set().media
BAD = {
    "format version 2": dataclasses.replace(GOOD, format_version=2),
    "set id too short": dataclasses.replace(GOOD, set_id="00"),
    "set id of another index": dataclasses.replace(GOOD, set_id=HEX),
    "bundle id in upper case": part(GOOD, "bundle", id="A" * 64),
    "bundle id of another list": part(GOOD, "bundle", id=HEX),
    "name with a slash": part(GOOD, "bundle", name="a/b"),
    "version with a space": part(GOOD, "bundle", version="1 2"),
    "archive of another name": part(GOOD, "archive", name="other.tar.zst"),
    "archive hash": part(GOOD, "archive", sha256="x"),
    "archive size": part(GOOD, "archive", size=1),
    "chunk size": dataclasses.replace(GOOD, chunk_size=2 * CHUNK),
    "no data disc": dataclasses.replace(GOOD, k=0),
    "too many data discs": dataclasses.replace(GOOD, k=100),
    "too many parity discs": dataclasses.replace(GOOD, m=100),
    "too many discs": dataclasses.replace(GOOD, k=99, m=99),
    "a volume left out": dataclasses.replace(GOOD, volumes=GOOD.volumes[1:]),
    "a volume without segments": dataclasses.replace(
        GOOD, volumes=(dataclasses.replace(GOOD.volumes[0], segments=()), *GOOD.volumes[1:])
    ),
    "parity of another length": dataclasses.replace(
        GOOD,
        volumes=(*GOOD.volumes[:-1], dataclasses.replace(GOOD.volumes[-1], segments=GOOD.volumes[-1].segments[:1])),
    ),
    "segment that names another place": with_segment(GOOD, 0, name="../demo-1.v01.s001"),
    "segment of no bytes": with_segment(GOOD, 0, size=0),
    "segment too large": with_segment(GOOD, 0, size=mediaset.MAX_SEGMENT + 1),
    "segment that ends within a chunk": with_segment(GOOD, 0, size=CHUNK - 1),
    "segment hash": with_segment(GOOD, 0, sha256="0"),
    "segment of another hash than its list": with_segment(GOOD, 0, sha256=HEX),
    "files out of order": dataclasses.replace(GOOD, files=GOOD.files[::-1]),
    "a file twice": dataclasses.replace(GOOD, files=(GOOD.files[0], *GOOD.files)),
    "names that differ by case": with_file(with_file(GOOD, "documents/a"), "documents/A"),
    "a file above the disc": with_file(GOOD, "../x"),
    "an absolute file": with_file(GOOD, "/etc/passwd"),
    "a file that has no place": with_file(GOOD, "autorun.inf"),
    "a set.json in its own list": with_file(GOOD, "set.json"),
    "a key in a folder": with_file(GOOD, "keys/a/b.pub"),
    "a signature that is none": with_file(GOOD, "bundle/SHA256SUMS.BUILDER.sig"),
    "a document too large": with_file(GOOD, "documents/x", 4 * CHUNK + 1),
    "a loader too large": with_file(GOOD, "airgap-loader.pyz", 64 * CHUNK + 1),
    "a file hash": edited(GOOD, "README-VERIFY.txt", sha256="0"),
    "no index": without(GOOD, "chunks.idx"),
    "no list of a disc": without(GOOD, "volumes/v02.sha256"),
    "no bundle list": without(GOOD, "bundle/SHA256SUMS"),
    "an index of another size": edited(GOOD, "chunks.idx", size=32),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_value_is_refused(name: str) -> None:
    with pytest.raises(FormatError):
        mediaset.decode(mediaset.encode(BAD[name]))


def test_the_canonical_form_comes_back() -> None:
    assert mediaset.decode(mediaset.encode(GOOD)) == GOOD
    with refused(FormatError, "set.json", "canonical"):
        mediaset.decode(json.dumps(json.loads(mediaset.encode(GOOD))).encode())


def test_too_many_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mediaset, "MAX_MEMBERS", 5)
    with refused(FormatError, "set.json", "files"):
        mediaset.check_media_set(GOOD)


def test_an_index_beyond_what_is_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mediaset, "MAX_HEAD_FILE", 64)
    with refused(FormatError, "set.json", "volumes"):
        mediaset.check_media_set(GOOD)


def test_every_kind_of_common_file_has_a_place() -> None:
    media = GOOD
    for path in ("keys/builder.pub", "airgap-loader.pyz", "report.html", "README-BY-HAND.txt", "documents/a/b.yaml"):
        media = with_file(media, path)
    mediaset.check_media_set(media)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("rook-ceph", "ROOKCE_9B7E_V02"), ("a", "A_9B7E_V02"), ("7", "7_9B7E_V02")],
)
def test_labels_fit_and_number_the_disc(name: str, expected: str) -> None:
    found = mediaset.label(mediaset.SetBundle("9b7e" + HEX[4:], name, "1"), "v02")
    assert found == expected
    assert len(found) <= 16


def test_the_list_has_every_file_and_no_segment() -> None:
    encoded = mediaset.encode(GOOD)
    lines = mediaset.set_sums(GOOD, encoded).decode().splitlines()
    assert lines == sorted(lines)
    paths = {line[66:] for line in lines}
    assert paths == {file.path for file in GOOD.files} | {"set.json"}
    assert not [path for path in paths if ".v01." in path]


def test_segments_know_where_they_begin() -> None:
    assert [(start, s.name) for start, s in mediaset.spans(GOOD.volumes[0])] == [
        (0, "demo-1.v01.s001"),
        (CHUNK, "demo-1.v01.s002"),
    ]


def schema_accepts(media: MediaSet) -> bool:
    return jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).is_valid(strictjson.to_plain(media))


def test_the_schema_takes_every_good_set() -> None:
    sets: list[MadeSet] = [bundle_set(), bundle_set(2), make_set(b"x" * (3 * CHUNK + 5), CHUNK, 0)]
    assert all(schema_accepts(made.media) for made in sets)


@pytest.mark.parametrize(
    "name",
    ["format version 2", "set id too short", "name with a slash", "chunk size", "no data disc", "segment too large"],
)
def test_the_schema_refuses_what_a_schema_can(name: str) -> None:
    assert not schema_accepts(BAD[name])
