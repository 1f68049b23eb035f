"""The same work for each of several things, some at a time; results in their order."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(work: Callable[[T], R], items: Sequence[T], *, jobs: int) -> list[R]:
    """Return what ``work`` gives for every item, ``jobs`` at a time. Raises the first item's error of those that fail.

    One at a time is done right here: a thread for each of thousands of dictionary look-ups takes longer than they do.
    """
    if jobs == 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(work, items))
