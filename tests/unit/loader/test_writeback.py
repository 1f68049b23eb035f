"""Files that are written back while they grow."""

from __future__ import annotations

import os
import queue
import threading

import pytest

from loader.bundle.errors import StorageError
from loader.writeback import WriteBack
from tests.support.refusals import refused


def test_a_growing_file_is_written_back_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    synced: queue.Queue[int] = queue.Queue()
    monkeypatch.setattr(os, "fdatasync", synced.put)
    with WriteBack(7, "x") as write_back:
        write_back.wrote(31 << 20)
        with pytest.raises(queue.Empty):
            synced.get(timeout=0.05)
        for _ in range(2):
            write_back.wrote(32 << 20)
            assert synced.get(timeout=10) == 7
    assert synced.empty()


class RefusingDisk:
    def __init__(self) -> None:
        self.asked = threading.Event()

    def __call__(self, fd: int) -> None:
        self.asked.set()
        raise OSError(5, "Input/output error")


def test_a_disk_that_refuses_to_write_back_fails_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    # The kernel tells such an error once: the fsync at the end may find nothing wrong.
    disk = RefusingDisk()
    monkeypatch.setattr(os, "fdatasync", disk)
    with refused(StorageError, "cannot write archive", "Input/output error"), WriteBack(7, "archive") as write_back:
        write_back.wrote(32 << 20)
        assert disk.asked.wait(10)


def test_an_earlier_error_is_the_one_to_show(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = RefusingDisk()
    monkeypatch.setattr(os, "fdatasync", disk)

    def work() -> None:
        with WriteBack(7, "archive") as write_back:
            write_back.wrote(32 << 20)
            assert disk.asked.wait(10)
            raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        work()
