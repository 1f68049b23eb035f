"""The builder checks its own result as any loader will, close behind the writer.

The blobs are hashed here and nowhere else, and the archive too: what is read back is what was fetched and written,
and a blob that arrived wrong ends the build a moment later.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Optional

from loader.bundle import frames
from loader.bundle.errors import AirgapError, FormatError, TrustError
from loader.bundle.filesource import FileSource
from loader.bundle.head import Head
from loader.bundle.keys import parse_public_key
from loader.bundle.policy import TrustPolicy
from loader.bundle.tarlayout import Layout
from loader.bundle.verify import Complete, OnePass, Trust, verify_head
from loader.signing import CryptographyCheck, Signer, load_signer, new_key_pair
from loader.zstd import find_decoder

_UNFIT = "this program is at fault, not a file of yours: leave out the image that is named, and report it"


class _Stopped(Exception):
    """The writer gave up: nothing more will come."""


class _Growing:
    """A file that is being written: reading waits for what is not there yet.

    ``size`` is the most it can get, until the writer is done and it is what it is. What is read is hashed as it comes
    by: the verifier reads every byte, in order but for a look back.
    """

    def __init__(self, file: FileSource, most: int) -> None:
        self.name = file.name
        self.size = most
        self._file = file
        self._written = file.size
        self._ended = False
        self._stopped = False
        self._changed = threading.Condition()
        self._running = hashlib.sha256()
        self._hashed = 0

    def read_into(self, offset: int, view: memoryview) -> int:
        """Fill ``view`` from ``offset`` once the writer got that far."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._ended or self._written >= offset + len(view))
            if self._stopped:
                raise _Stopped
        got = self._file.read_into(offset, view)
        known = self._hashed - offset
        if 0 <= known < got:
            self._running.update(view[known:got])
            self._hashed = offset + got
        return got

    def sha256(self) -> str:
        """The SHA-256 of the file, which was read to its end."""
        if self._hashed != self.size:
            raise RuntimeError(f"{self._hashed} bytes of {self.size} were read in order")
        return self._running.hexdigest()

    def grew(self, size: int) -> None:
        """Tell that ``size`` more bytes are there."""
        with self._changed:
            self._written += size
            self._changed.notify()

    def end(self, *, stopped: bool) -> None:
        """Tell that nothing more comes."""
        with self._changed:
            self._ended, self._stopped, self.size = True, stopped, self._written
            self._changed.notify()

    def wait_for_end(self) -> None:
        """Wait until the size is known."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended)
            if self._stopped:
                raise _Stopped


class SelfCheck:
    """Verifies the archive at ``path``, of ``layout``, while it is written; a context around the writing.

    ``trust`` and ``beside`` are as for :func:`loader.bundle.verify.verify_head`. What is in the file on entry is
    checked too.
    """

    def __init__(self, path: str, layout: Layout, trust: Trust, beside: Sequence[tuple[str, bytes]]) -> None:
        most = sum(map(frames.most_stored, layout.frames)) + frames.seek_table_size(len(layout.frames))
        self._file = FileSource(path)
        self._growing = _Growing(self._file, most)
        self._trust = trust
        self._beside = beside
        self._complete: Optional[Complete] = None
        self._error: Optional[Exception] = None
        self._thread = threading.Thread(target=self._run, name="self-check", daemon=True)

    def __enter__(self) -> SelfCheck:
        self._thread.start()
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._growing.end(stopped=True)
        self._thread.join()
        self._file.close()

    def wrote(self, size: int) -> None:
        """Count ``size`` more bytes in the file; raises what was found wrong in those before."""
        self._growing.grew(size)
        self._raise()

    def complete(self) -> tuple[Complete, str]:
        """Return the proof and the file's SHA-256, once the last byte is written and checked.

        Raises the first thing that was wrong.
        """
        self._growing.end(stopped=False)
        self._thread.join()
        self._raise()
        if self._complete is None:
            raise RuntimeError("the self-check ended with neither a proof nor an error")
        return self._complete, self._growing.sha256()

    def _raise(self) -> None:
        if isinstance(self._error, TrustError):
            raise TrustError(
                f"a blob arrived wrong: {self._error.message}",
                why=self._error.why,
                hint="the source changed or is damaged",
            ) from self._error
        if isinstance(self._error, FormatError):
            raise FormatError(self._error.message, why=self._error.why, hint=_UNFIT) from self._error
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            one = OnePass(verify_head(self._growing, self._trust, find_decoder(), beside=self._beside, told={}))
            for number in one.left:
                if number == one.end:
                    self._growing.wait_for_end()
                one.check(number, lambda _: None)
            self._complete = one.complete()
        except _Stopped:
            return
        except (AirgapError, OSError, RuntimeError, ValueError, MemoryError) as error:
            self._error = error


def own_trust(head: Head, signers: Sequence[Signer]) -> tuple[Trust, list[tuple[str, bytes]]]:
    """The trust that the result is verified with; an unsigned one is signed by a key that lives only here."""
    public = [signer.public for signer in signers]
    beside = []
    if not public:
        private, pem = new_key_pair()
        throwaway = load_signer(private, label="self-check", where="self-check")
        beside.append(("self-check", throwaway.sign(head.sums)))
        public.append(parse_public_key(pem, "self-check"))
    return Trust(TrustPolicy(tuple(public)), CryptographyCheck(), "0001-01-01T00:00:00Z"), beside
