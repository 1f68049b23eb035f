"""Reed-Solomon parity across discs: GF(2^8), known erasures, the standard library alone.

Parity chunk ``i`` of a stripe is the sum over data discs ``j`` of ``c[i][j]`` times data chunk ``j``, where
``c[i][j] = (x[0] + y[j]) / (x[i] + y[j])`` with ``y[j] = j`` and ``x[i] = 128 + i``: a Cauchy matrix whose
columns are scaled so that the first row is all ones. Every square part of it can be inverted, so any ``m``
lost chunks come back from any ``m`` parity chunks; and the first parity disc is the plain XOR of the data discs.

A chunk times a constant is one ``bytes.translate``; a sum is one XOR of two large integers. Read as
little-endian numbers, chunks of unequal length are zero-padded by themselves.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Optional, Union

POLYNOMIAL = 0x11D  # x^8 + x^4 + x^3 + x^2 + 1, the one of RAID 6 and of most Reed-Solomon codes; 2 generates it
_FIRST_X = 128  # data discs take the points below

# Numbers of this many bytes at a time: memory for larger ones is fetched from the system anew each time.
_STEP = 64 * 1024

Chunk = Union[bytes, bytearray, memoryview]


def _powers() -> tuple[tuple[int, ...], tuple[int, ...]]:
    exponents, logarithms = [0] * 510, [0] * 256
    value = 1
    for power in range(255):
        exponents[power] = exponents[power + 255] = value
        logarithms[value] = power
        value <<= 1
        if value & 0x100:
            value ^= POLYNOMIAL
    return tuple(exponents), tuple(logarithms)


_EXP, _LOG = _powers()


def multiply(a: int, b: int) -> int:
    """Product of two elements of the field."""
    return _EXP[_LOG[a] + _LOG[b]] if a and b else 0


def divide(a: int, b: int) -> int:
    """Quotient of two elements of the field, ``b`` not zero."""
    return _EXP[_LOG[a] + 255 - _LOG[b]] if a else 0


def coefficient(row: int, column: int) -> int:
    """What data disc ``column`` is multiplied by in parity disc ``row``, both counted from 0."""
    return divide(_FIRST_X ^ column, (_FIRST_X + row) ^ column)


@functools.cache
def _table(factor: int) -> bytes:
    return bytes(multiply(factor, value) for value in range(256))


def _times(factor: int, chunk: Chunk) -> int:
    """``factor`` times ``chunk`` as a little-endian number."""
    if factor == 1:
        return int.from_bytes(chunk, "little")
    return int.from_bytes(bytes(chunk).translate(_table(factor)), "little")


def share(row: int, column: int, chunk: Chunk) -> int:
    """What chunk ``column`` of the data adds to parity chunk ``row``, as a little-endian number; XOR sums them up."""
    return _times(coefficient(row, column), chunk)


def encode(chunks: Sequence[Chunk], rows: int) -> list[bytes]:
    """Return the ``rows`` parity chunks of one stripe, each as long as the longest of ``chunks``."""
    length = max(len(chunk) for chunk in chunks)
    factors = [[coefficient(row, column) for column in range(len(chunks))] for row in range(rows)]
    parity = [bytearray(length) for _ in range(rows)]
    for start in range(0, length, _STEP):
        parts = [chunk[start : start + _STEP] for chunk in chunks]
        size = min(_STEP, length - start)
        for target, row in zip(parity, factors):
            target[start : start + size] = _sum(row, parts).to_bytes(size, "little")
    return [bytes(target) for target in parity]


def _sum(factors: Sequence[int], parts: Sequence[Chunk]) -> int:
    total = 0
    for factor, part in zip(factors, parts):
        if part:
            total ^= _times(factor, part)
    return total


def rebuild(data: Sequence[Optional[Chunk]], parity: Mapping[int, Chunk], sizes: Mapping[int, int]) -> dict[int, bytes]:
    """Return the missing chunks of one stripe by column.

    ``data`` has ``None`` for each missing chunk; ``parity`` has at least as many chunks by row, all known to be
    right; ``sizes`` are the lengths of the missing ones. What comes back must still be checked against its hash.
    """
    lost = [column for column, chunk in enumerate(data) if chunk is None]
    rows = sorted(parity)[: len(lost)]
    if len(rows) < len(lost):
        raise RuntimeError(f"{len(lost)} chunks are lost and only {len(rows)} parity chunks are given")
    inverse = invert([[coefficient(row, column) for column in lost] for row in rows])
    factors = [[coefficient(row, column) for column in range(len(data))] for row in rows]
    found = {column: bytearray(sizes[column]) for column in lost}
    for start in range(0, max(sizes[column] for column in lost) if lost else 0, _STEP):
        parts = [chunk[start : start + _STEP] if chunk else b"" for chunk in data]
        sums = [
            int.from_bytes(parity[row][start : start + _STEP], "little") ^ _sum(known, parts)
            for row, known in zip(rows, factors)
        ]
        for index, column in enumerate(lost):
            size = max(0, min(_STEP, sizes[column] - start))
            found[column][start : start + size] = _combine(inverse[index], sums, size)
    return {column: bytes(chunk) for column, chunk in found.items()}


def _combine(factors: Sequence[int], sums: Sequence[int], size: int) -> bytes:
    total = 0
    for factor, part in zip(factors, sums):
        total ^= part if factor == 1 else _times(factor, part.to_bytes(_STEP, "little"))
    # Wrong input can leave bytes beyond the end; they are cut off here and the hash tells.
    return (total & ((1 << 8 * size) - 1)).to_bytes(size, "little")


def invert(matrix: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the inverse of a square matrix over the field that is known to have one (Gauss and Jordan)."""
    size = len(matrix)
    work = [[*row, *(int(i == j) for j in range(size))] for i, row in enumerate(matrix)]
    for pivot in range(size):
        # Every leading minor of a Cauchy matrix is regular, so a pivot is never zero and no rows are swapped.
        scale = work[pivot][pivot]
        work[pivot] = [divide(value, scale) for value in work[pivot]]
        for other in range(size):
            factor = work[other][pivot]
            if other != pivot and factor:
                work[other] = [a ^ multiply(factor, b) for a, b in zip(work[other], work[pivot])]
    return [row[size:] for row in work]
