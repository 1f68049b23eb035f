"""A slow and bad line for tests: two network namespaces, 50 Mbit/s and 1 % loss between them, and a relay that delays.

The kernel's own delay (netem) is not everywhere, so the delay is a relay's: ``python -m tests.support.slowlink``.
Nothing outside of the two namespaces is changed, and they end with the processes in them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import pytest

from tests.support.cli import ROOT
from tests.support.programs import program

RATE = 50_000_000
"""Bits per second of the line, either way."""
LOSS = 100
"""One packet in so many is lost, either way."""
NEAR, FAR = "10.77.0.1", "10.77.0.2"
_CHUNK = 2**16
_CHUNKS = 128


@dataclass(frozen=True)
class Namespaces:
    """The two ends: argv prefixes that run a command there."""

    near: tuple[str, ...]
    far: tuple[str, ...]

    def run(self, where: Sequence[str], *argv: str) -> None:
        done = subprocess.run([*where, *argv], capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"


@dataclass(frozen=True)
class Passed:
    """What went through the relay: connections, and (seconds, bytes) of each direction."""

    connections: int
    up: list[tuple[float, int]]
    down: list[tuple[float, int]]


def filled(passed: Sequence[tuple[float, int]]) -> float:
    """Share of the line that the middle nine tenths of the bytes took, headers of TCP and IP not counted in."""
    reached = list(accumulate(size for _, size in passed))
    total = reached[-1]
    first = next(number for number, so_far in enumerate(reached) if so_far >= total * 0.05)
    last = next(number for number, so_far in enumerate(reached) if so_far >= total * 0.95)
    seconds = passed[last][0] - passed[first][0]
    return (reached[last] - reached[first]) * 8 / seconds / RATE


@contextlib.contextmanager
def namespaces() -> Iterator[Namespaces]:
    """Make the two ends and the line between them; a machine that cannot fails the test and says what it takes."""
    if os.geteuid() != 0:
        pytest.fail("network namespaces are made by root: run this test as root, or in a container of your own")
    for name in ("ip", "tc", "nft", "unshare", "nsenter"):
        program(name)
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(_holder()) for _ in range(2)]
        near, far = (("nsenter", f"--net=/proc/{pid}/ns/net", "--") for pid in holders)
        found = Namespaces(near, far)
        found.run(near, "ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(holders[1]))
        for where, device, address in ((near, "near", NEAR), (far, "far", FAR)):
            _set_up(found, where, device, address)
        yield found


def _set_up(found: Namespaces, where: Sequence[str], device: str, address: str) -> None:
    found.run(where, "ip", "address", "add", f"{address}/24", "dev", device)
    # Packets as they are on a real line: what is dropped and counted is one segment each.
    found.run(where, "ip", "link", "set", device, "gso_max_segs", "1")
    for name in (device, "lo"):
        found.run(where, "ip", "link", "set", name, "up")
    shape = ("rate", str(RATE), "burst", "16kb", "latency", "50ms")
    found.run(where, "tc", "qdisc", "add", "dev", device, "root", "tbf", *shape)
    found.run(where, "nft", "add", "table", "ip", "line")
    found.run(where, "nft", "add", "chain", "ip", "line", "in", "{ type filter hook input priority 0; }")
    loss = ("iifname", device, "numgen", "random", "mod", str(LOSS), "0", "drop")
    found.run(where, "nft", "add", "rule", "ip", "line", "in", *loss)


@contextlib.contextmanager
def _holder() -> Iterator[int]:
    """A process that keeps a new namespace alive."""
    # It says so once it is in there: unshare has made the namespace before it starts the program.
    process = subprocess.Popen(["unshare", "--net", "--", "sh", "-c", "echo in; read _"], stdin=-1, stdout=-1)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"in\n":
            pytest.fail("this machine lets nobody make a network namespace: it takes root with CAP_SYS_ADMIN")
        yield process.pid
    finally:
        process.communicate(timeout=10)


@contextlib.contextmanager
def relay(where: Sequence[str], target: str, delay: float) -> Iterator[tuple[str, list[Passed]]]:
    """Run the relay to ``target`` at one end; it tells what went through once the block has ended."""
    argv = [*where, sys.executable, "-m", "tests.support.slowlink", target, str(delay)]
    process = subprocess.Popen(argv, cwd=ROOT, stdin=-1, stdout=-1, text=True)
    told: list[Passed] = []
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), told
    finally:
        out, _ = process.communicate(timeout=20)
    told.append(Passed(**json.loads(out)))


class _Relay:
    def __init__(self, target: str, delay: float) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._delay = delay
        self.passed: dict[str, list[tuple[float, int]]] = {"up": [], "down": []}
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        await asyncio.gather(self._pump(reader, far_writer, "up"), self._pump(far_reader, writer, "down"))
        for one in (far_writer, writer):
            one.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        clock = asyncio.get_running_loop().time
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS)
        writing = asyncio.create_task(self._write(line, writer, way))
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                await line.put((clock() + self._delay, data))
        await line.put((clock() + self._delay, b""))
        await writing

    async def _write(self, line: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, way: str) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due, data = await line.get()
            await asyncio.sleep(max(0.0, due - clock()))
            with contextlib.suppress(OSError):
                if not data:
                    return writer.write_eof()
                writer.write(data)
                await writer.drain()
                self.passed[way].append((time.monotonic(), len(data)))


async def _main(target: str, delay: float) -> None:
    found = _Relay(target, delay)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"{host}:{port}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    print(json.dumps({"connections": found.connections, **found.passed}), flush=True)
    # Connections that are kept alive on the far side are nobody's any more.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], float(sys.argv[2])))
