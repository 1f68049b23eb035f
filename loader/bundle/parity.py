"""Reed-Solomon parity across discs: GF(2^8), known erasures, the standard library alone.

Parity chunk ``i`` of a stripe is the sum over data discs ``j`` of ``c[i][j]`` times data chunk ``j``, where
``c[i][j] = (x[0] + y[j]) / (x[i] + y[j])`` with ``y[j] = j`` and ``x[i] = 128 + i``: a Cauchy matrix whose
columns are scaled so that the first row is all ones. Every square part of it can be inverted, so any ``m``
lost chunks come back from any ``m`` parity chunks; and the first parity disc is the plain XOR of the data discs.

A chunk times a constant is one ``bytes.translate``; a sum is one XOR of two large integers. Read as
little-endian numbers, chunks of unequal length are zero-padded by themselves. Sums of many chunks are
taken bit by bit of their factors, with XORs alone.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Optional, Union

POLYNOMIAL = 0x11D  # x^8 + x^4 + x^3 + x^2 + 1, the one of RAID 6 and of most Reed-Solomon codes; 2 generates it
_FIRST_X = 128  # data discs take the points below

# Numbers of this many bytes at a time: memory for larger ones is fetched from the system anew each time.
_STEP = 32 * 1024
_LOW_BITS = int.from_bytes(b"\x7f" * _STEP, "little")

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
    return _products(_encoding(len(chunks), rows), chunks, [length] * rows)


def rebuild(data: Sequence[Optional[Chunk]], parity: Mapping[int, Chunk], sizes: Mapping[int, int]) -> dict[int, bytes]:
    """Return the missing chunks of one stripe by column.

    ``data`` has ``None`` for each missing chunk; ``parity`` has at least as many chunks by row, all known to be
    right; ``sizes`` are the lengths of the missing ones. What comes back must still be checked against its hash.
    """
    lost = tuple(column for column, chunk in enumerate(data) if chunk is None)
    rows = tuple(sorted(parity)[: len(lost)])
    if len(rows) < len(lost):
        raise RuntimeError(f"{len(lost)} chunks are lost and only {len(rows)} parity chunks are given")
    chunks = [*(chunk or b"" for chunk in data), *(parity[row] for row in rows)]
    found = _products(_decoding(len(data), lost, rows), chunks, [sizes[column] for column in lost])
    return dict(zip(lost, found))


_Terms = tuple[tuple[int, ...], ...]
"""A sum of chunks times factors, as numbers of the chunks: those whose factor has bit 0, those with bit 1, …."""


def _terms(factors: Sequence[int]) -> _Terms:
    highest = max(factors, default=0).bit_length()
    return tuple(tuple(number for number, factor in enumerate(factors) if factor >> bit & 1) for bit in range(highest))


@functools.lru_cache(maxsize=16)
def _encoding(columns: int, rows: int) -> tuple[_Terms, ...]:
    return tuple(_terms([coefficient(row, column) for column in range(columns)]) for row in range(rows))


@functools.lru_cache(maxsize=16)
def _decoding(columns: int, lost: tuple[int, ...], rows: tuple[int, ...]) -> tuple[_Terms, ...]:
    """What each lost column is a sum of: the data chunks that are there, and the parity chunks ``rows`` after them."""
    inverse = invert([[coefficient(row, column) for column in lost] for row in rows])
    known = [[0 if column in lost else coefficient(row, column) for column in range(columns)] for row in rows]
    return tuple(_terms([*(_dot(factors, column) for column in zip(*known)), *factors]) for factors in inverse)


def _dot(left: Sequence[int], right: Sequence[int]) -> int:
    return functools.reduce(operator.xor, map(multiply, left, right), 0)


def _products(sums: Sequence[_Terms], chunks: Sequence[Chunk], sizes: Sequence[int]) -> list[bytes]:
    """Return each of ``sums`` over ``chunks``, cut to its size: wrong input can leave bytes beyond, the hash tells."""
    found = [bytearray(size) for size in sizes]
    for start in range(0, max(sizes, default=0), _STEP):
        numbers = [int.from_bytes(chunk[start : start + _STEP], "little") for chunk in chunks]
        for target, terms in zip(found, sums):
            size = min(_STEP, len(target) - start)
            if size > 0:
                total = _sum(terms, numbers)
                if total.bit_length() > 8 * size:
                    total &= (1 << 8 * size) - 1
                target[start : start + size] = total.to_bytes(size, "little")
    return [bytes(target) for target in found]


def _sum(terms: _Terms, numbers: Sequence[int]) -> int:
    """Horner's rule over the bits of the factors: an XOR costs a thirtieth of a table look-up and its conversion."""
    total = 0
    for columns in reversed(terms):
        if total:
            low = total & _LOW_BITS
            # Every byte doubled: what is shifted out of it comes back reduced by the polynomial.
            total = (low << 1) ^ ((total ^ low) >> 7) * (POLYNOMIAL & 0xFF)
        for column in columns:
            total ^= numbers[column]
    return total


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
