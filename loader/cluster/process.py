"""Run a program with its input, output and time bounded."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Protocol

from loader.bundle.errors import ClusterError

# Rook's CRDs alone come back as 3 MB of JSON; a list of every Deployment of a large cluster as 20 MB.
MAX_STDOUT = 64 * 1024 * 1024
MAX_STDERR = 1024 * 1024
_CHUNK = 65536


@dataclass(frozen=True)
class Finished:
    """What a program left behind: exit status (negative: the signal that ended it), stdout, stderr."""

    status: int
    stdout: bytes
    stderr: bytes


class Runner(Protocol):
    """Anything that runs ``argv``; ``timeout`` is in seconds."""

    def __call__(self, argv: Sequence[str], *, stdin: bytes, timeout: float) -> Finished:
        """Return what the program left behind."""
        ...


class ProcessRunner:
    """The :class:`Runner` that starts real programs, with exactly ``environment``.

    Raises ``ClusterError`` for a program that cannot be started, outlives its timeout or prints more than the caps.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)

    def __call__(self, argv: Sequence[str], *, stdin: bytes, timeout: float) -> Finished:
        """Run ``argv`` to its end, or kill it."""
        try:
            # A session of its own: on a timeout the login plugins that kubectl started end with it.
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment,
                start_new_session=True,
            )
        except OSError as error:
            raise ClusterError(
                f"{argv[0]} cannot be started",
                why=os.strerror(error.errno) if error.errno else str(error),
                hint="install oc or kubectl where programs may be run (a noexec mount refuses them)",
            ) from error
        try:
            return _converse(process, stdin, time.monotonic() + timeout, f"{argv[0]} (limit {timeout:.0f} s)")
        finally:
            _end(process)


def _converse(process: subprocess.Popen[bytes], stdin: bytes, deadline: float, what: str) -> Finished:
    """Feed and read all three pipes at once, so that neither side waits for the other."""
    assert process.stdin is not None  # noqa: S101 - all three were asked for as pipes
    assert process.stdout is not None  # noqa: S101
    assert process.stderr is not None  # noqa: S101
    outputs: dict[IO[bytes], tuple[bytearray, int]] = {
        process.stdout: (bytearray(), MAX_STDOUT),
        process.stderr: (bytearray(), MAX_STDERR),
    }
    rest = memoryview(stdin)
    os.set_blocking(process.stdin.fileno(), False)
    with selectors.DefaultSelector() as selector:
        for stream in outputs:
            selector.register(stream, selectors.EVENT_READ)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        while selector.get_map():
            for key, _ in selector.select(_remaining(deadline, what)):
                if key.fileobj is process.stdin:
                    rest = _feed(process.stdin, rest)
                    if not rest:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                else:
                    stream = process.stdout if key.fileobj is process.stdout else process.stderr
                    if not _drain(stream, *outputs[stream], what):
                        selector.unregister(stream)
    try:
        status = process.wait(_remaining(deadline, what))
    except subprocess.TimeoutExpired:
        raise _too_slow(what) from None
    return Finished(status, bytes(outputs[process.stdout][0]), bytes(outputs[process.stderr][0]))


def _feed(stream: IO[bytes], rest: memoryview) -> memoryview:
    if not rest:
        return rest
    try:
        return rest[os.write(stream.fileno(), rest[:_CHUNK]) :]
    except BlockingIOError:
        return rest
    except BrokenPipeError:
        return rest[:0]  # the program stopped listening; its exit status tells why


def _drain(stream: IO[bytes], held: bytearray, limit: int, what: str) -> bool:
    data = os.read(stream.fileno(), _CHUNK)
    held += data
    if len(held) > limit:
        raise ClusterError(f"{what} printed too much", why=f"more than {limit} bytes")
    return bool(data)


def _remaining(deadline: float, what: str) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise _too_slow(what)
    return left


def _too_slow(what: str) -> ClusterError:
    return ClusterError(
        f"{what} did not finish in time",
        why="no answer from the API server or from the login plugin",
        hint="check the server and the login of this kubeconfig context, then run the same command again",
        retryable=True,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
