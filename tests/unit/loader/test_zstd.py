from __future__ import annotations

import ctypes
import sys
import types
from pathlib import Path

import pytest
import zstandard

from loader import zstd
from loader.bundle import frames
from loader.bundle.errors import AirgapError, FormatError, StorageError
from loader.bundle.frames import FrameDecoder
from tests.support.bundles import zstd_frame
from tests.support.refusals import refused

CONTENT = b"the quick brown fox " * 5000
FRAME = zstd_frame(CONTENT)
EMPTY = zstandard.ZstdCompressor().compress(b"")
DAMAGED = [FRAME[:-1], FRAME[:-5], FRAME[:20], b"", FRAME[:-1] + b"\0", FRAME + b"\0", b"\0" + FRAME, EMPTY]


class FakeDecompressor:
    """``compression.zstd.ZstdDecompressor`` as Python 3.14 documents it."""

    def __init__(self) -> None:
        self._engine = zstandard.ZstdDecompressor().decompressobj()
        self.asked = -1

    @property
    def eof(self) -> bool:
        return self._engine.eof

    @property
    def unused_data(self) -> bytes:
        return self._engine.unused_data

    def decompress(self, data: memoryview, max_length: int = -1) -> bytes:
        assert max_length >= 0  # without a limit a bomb would be decoded whole
        return bytes(self._engine.decompress(data)[:max_length])


@pytest.fixture
def stdlib(monkeypatch: pytest.MonkeyPatch) -> FrameDecoder:
    """The decoder over the standard library of Python 3.14, whatever Python runs this."""
    module = types.ModuleType("compression.zstd")
    vars(module).update(ZstdDecompressor=FakeDecompressor, ZstdError=zstandard.ZstdError)
    monkeypatch.setitem(sys.modules, "compression", types.ModuleType("compression"))
    monkeypatch.setitem(sys.modules, "compression.zstd", module)
    decoder = zstd._stdlib()
    assert decoder is not None
    return decoder


def room(size: int) -> memoryview:
    return memoryview(bytearray(size))


def library() -> FrameDecoder:
    decoder = zstd._zstandard()
    assert decoder is not None
    return decoder


def test_a_frame_is_decoded(stdlib: FrameDecoder) -> None:
    for decoder in (library(), stdlib, zstd.find_decoder()):
        assert decoder.decode(memoryview(FRAME), room(len(CONTENT))) == CONTENT


@pytest.mark.parametrize("number", range(len(DAMAGED)))
def test_a_damaged_frame_is_refused(number: int, stdlib: FrameDecoder) -> None:
    for decoder in (library(), stdlib):
        with refused(FormatError, "zstd frame"):
            frames.check_zstd_frame(memoryview(DAMAGED[number]), len(CONTENT))
            decoder.decode(memoryview(DAMAGED[number]), room(len(CONTENT)))


@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1, 0])
def test_another_size_is_refused(size: int, stdlib: FrameDecoder) -> None:
    for decoder in (library(), stdlib):
        with refused(FormatError, "does not decode"):
            decoder.decode(memoryview(FRAME), room(size))


def without_libraries(monkeypatch: pytest.MonkeyPatch, *, libzstd: bool = False) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    if not libzstd:

        def missing(name: str) -> None:
            raise OSError(f"{name}: cannot open shared object file")

        monkeypatch.setattr(ctypes, "CDLL", missing)


def program(folder: Path, script: str) -> str:
    """A program called zstd; return the search path it is on."""
    path = folder / "zstd"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(folder)


def test_the_host_s_library_is_used_where_no_module_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Function:
        def __init__(self, result: int) -> None:
            self.result = result

        def __call__(self, *args: object) -> int:
            return self.result

    fake = types.SimpleNamespace(ZSTD_decompress=Function(3), ZSTD_isError=Function(0))
    without_libraries(monkeypatch, libzstd=True)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: fake if name == "libzstd.so.1" else None)
    assert zstd.find_decoder("").decode(memoryview(FRAME), room(3)) == bytes(3)
    with refused(FormatError, "does not decode", "3 bytes; 4 are declared"):
        zstd.find_decoder("").decode(memoryview(FRAME), room(4))
    fake.ZSTD_isError = Function(1)
    with refused(FormatError, "does not decode", "libzstd refused it"):
        zstd.find_decoder("").decode(memoryview(FRAME), room(3))


def test_the_program_is_used_where_no_library_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_libraries(monkeypatch)
    decoder = zstd.find_decoder(program(tmp_path, 'test "$*" = "-d -c -q --no-progress" && cat'))
    assert decoder.decode(memoryview(CONTENT), room(len(CONTENT))) == CONTENT


def test_a_program_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_libraries(monkeypatch)
    endless = zstd.find_decoder(program(tmp_path, "exec yes"))
    with refused(FormatError, "does not decode", "more than 100 bytes"):
        endless.decode(memoryview(FRAME), room(100))
    monkeypatch.setattr(zstd, "_CLI_TIMEOUT", 0.2)
    silent = zstd.find_decoder(program(tmp_path, "exec sleep 60"))
    with refused(FormatError, "does not decode", "no end"):
        silent.decode(memoryview(FRAME), room(100))


def test_what_the_program_says_is_passed_on_in_plain_letters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_libraries(monkeypatch)
    decoder = zstd.find_decoder(program(tmp_path, "printf 'bad \\033[2Jframe' >&2; exit 1"))
    with refused(FormatError, "does not decode", "bad \\x1b[2Jframe"):
        decoder.decode(memoryview(FRAME), room(len(CONTENT)))


def test_a_program_that_cannot_be_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_libraries(monkeypatch)
    decoder = zstd.find_decoder(program(tmp_path, ""))
    (tmp_path / "zstd").unlink()
    with refused(StorageError, f"cannot run {tmp_path}/zstd"):
        decoder.decode(memoryview(FRAME), room(len(CONTENT)))


def test_a_host_without_zstd_fails_only_when_a_frame_comes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_libraries(monkeypatch)
    decoder = zstd.find_decoder(str(tmp_path))
    with refused(AirgapError, "this host has no zstd"):
        decoder.decode(memoryview(FRAME), room(len(CONTENT)))
