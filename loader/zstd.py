"""One zstd decoder, from whatever the host has: zstandard, compression.zstd, libzstd by ctypes, the zstd program.

A frame arrives with its header already checked (one form, at most 4 MiB of content), so no backend
ever allocates what a hostile header claims. Raw frames never come here.
"""

from __future__ import annotations

import ctypes
import importlib
import shutil
import subprocess
import threading
from collections.abc import Callable
from typing import Any, Optional

from loader.bundle.errors import AirgapError, FormatError, StorageError
from loader.bundle.frames import FrameDecoder
from loader.memory import anonymous_file, place

_CLI_TIMEOUT = 60.0
_MAX_WORDS = 400


# As for openssl: a hostile PATH must not choose what runs here.
PROGRAM_PLACES = "/usr/bin:/bin"


_Decode = Callable[[memoryview, memoryview], memoryview]


def find_decoder(path: str = PROGRAM_PLACES) -> FrameDecoder:
    """Return the first decoder this host has; one that only refuses when there is none.

    ``path`` is where the zstd program is looked for: the host's own folders. A bundle of raw frames needs no
    decoder at all, so having none is an error only when a compressed frame comes.
    """
    for make in (_zstandard, _stdlib, _libzstd):
        decoder = make()
        if decoder is not None:
            return decoder
    program = shutil.which("zstd", path=path)
    return _Decoder(_cli(program)) if program else _Decoder(_nothing)


class _Decoder:
    """Requires exactly the declared size from a backend, and maps its errors."""

    def __init__(self, decode: _Decode, errors: tuple[type[Exception], ...] = ()) -> None:
        self._decode = decode
        self._errors = errors

    def decode(self, frame: memoryview, room: memoryview) -> memoryview:
        """Return exactly as many bytes as ``room`` has, or raise ``FormatError``."""
        try:
            data = self._decode(frame, room)
        except self._errors as error:
            raise FormatError("a zstd frame does not decode", why=str(error)) from error
        if len(data) != len(room):
            raise FormatError("a zstd frame does not decode", why=f"{len(data)} bytes; {len(room)} are declared")
        return data


def _zstandard() -> Optional[FrameDecoder]:
    try:
        module: Any = importlib.import_module("zstandard")
    except ImportError:
        return None

    def decode(frame: memoryview, room: memoryview) -> memoryview:
        # A decompressor is not safe across threads, and cheap to make. A whole frame into room for all of it is
        # decoded in one step, with no memory of the library's; the second read is where anything else would show.
        with module.ZstdDecompressor().stream_reader(frame) as reader:
            got = reader.readinto(room)
            if reader.read(1):
                raise FormatError("a zstd frame does not decode", why=f"more than {len(room)} bytes are in it")
            return room[:got]

    return _Decoder(decode, (module.ZstdError,))


def _stdlib() -> Optional[FrameDecoder]:
    try:
        module: Any = importlib.import_module("compression.zstd")
    except ImportError:
        return None

    def decode(frame: memoryview, room: memoryview) -> memoryview:
        engine = module.ZstdDecompressor()
        data = engine.decompress(frame, len(room) + 1)
        if not engine.eof or engine.unused_data:
            raise FormatError("a zstd frame does not decode", why="it is cut off or something follows it")
        return memoryview(data)

    return _Decoder(decode, (module.ZstdError,))


def _libzstd() -> Optional[FrameDecoder]:
    try:
        library = ctypes.CDLL("libzstd.so.1")
        run = library.ZSTD_decompress
    except (OSError, AttributeError):
        return None
    run.restype = ctypes.c_size_t
    run.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t)
    is_error = library.ZSTD_isError
    is_error.restype = ctypes.c_uint
    is_error.argtypes = (ctypes.c_size_t,)

    def decode(frame: memoryview, room: memoryview) -> memoryview:
        # ZSTD_decompress reads all of the input as whole frames: anything cut off or trailing is an error.
        got = run(place(room), len(room), place(frame), len(frame))
        if is_error(got):
            raise FormatError("a zstd frame does not decode", why="libzstd refused it")
        return room[:got]

    return _Decoder(decode)


def _cli(program: str) -> _Decode:
    def decode(frame: memoryview, room: memoryview) -> memoryview:
        try:
            return memoryview(_run(program, frame, len(room)))
        except OSError as error:
            raise StorageError(f"cannot run {program}", why=error.strerror or str(error)) from error

    return decode


def _run(program: str, frame: memoryview, size: int) -> bytes:
    """Decode by a process; at most one byte more than ``size`` is taken from it."""
    with anonymous_file() as given, anonymous_file() as said:
        given.write(frame)
        given.seek(0)
        argv = [program, "-d", "-c", "-q", "--no-progress"]
        with subprocess.Popen(argv, stdin=given, stdout=subprocess.PIPE, stderr=said) as process:
            watchdog = threading.Timer(_CLI_TIMEOUT, process.kill)
            watchdog.start()
            data = process.stdout.read(size + 1) if process.stdout else b""
            if len(data) > size:
                process.kill()
            status = process.wait()
            watchdog.cancel()
        if status != 0:
            said.seek(0)
            why = said.read(_MAX_WORDS).decode("ascii", "replace").strip() or f"more than {size} bytes, or no end"
            raise FormatError("a zstd frame does not decode", why=ascii(why))
    return data


def _nothing(frame: memoryview, room: memoryview) -> memoryview:
    raise AirgapError(
        "this bundle has compressed frames and this host has no zstd",
        why="none of zstandard, compression.zstd, libzstd.so.1 and the zstd program is here",
        hint="install zstd (rpm: zstd or libzstd), or have the bundle built from compressed layers",
    )
