"""Parity: any damage within the limit gives back the exact bytes, and the first row is plain XOR."""

from __future__ import annotations

import functools
import itertools
import operator
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.bundle import parity
from loader.bundle.mediaset import MAX_DATA, MAX_DISCS

ELEMENTS = st.integers(0, 255)


def slow_product(a: int, b: int) -> int:
    """Multiply as polynomials over GF(2), by hand."""
    product = functools.reduce(operator.xor, (a << bit for bit in range(8) if b >> bit & 1), 0)
    for bit in range(15, 7, -1):
        if product >> bit & 1:
            product ^= parity.POLYNOMIAL << (bit - 8)
    return product


def test_products_are_those_of_the_polynomial() -> None:
    assert all(parity.multiply(a, b) == slow_product(a, b) for a in range(256) for b in range(256))


@given(ELEMENTS, st.integers(1, 255))
def test_division_undoes_multiplication(a: int, b: int) -> None:
    assert parity.divide(parity.multiply(a, b), b) == a


def test_the_first_row_is_all_ones_and_no_coefficient_is_zero() -> None:
    assert {parity.coefficient(0, column) for column in range(MAX_DATA)} == {1}
    assert all(parity.coefficient(row, column) for row in range(99) for column in range(MAX_DATA))


def test_the_first_parity_disc_is_the_plain_xor() -> None:
    chunks = [bytes(random.Random(i).randbytes(50 - 7 * i)) for i in range(4)]
    padded = [chunk.ljust(50, b"\0") for chunk in chunks]
    assert parity.encode(chunks, 1) == [bytes(a ^ b ^ c ^ d for a, b, c, d in zip(*padded))]


def test_every_small_pattern_of_loss() -> None:
    chunks = [bytes([17 * i + 1, 0, i, 255 - i]) for i in range(4)]
    rows = parity.encode(chunks, 3)
    for lost in itertools.chain.from_iterable(itertools.combinations(range(4), n) for n in range(4)):
        for kept in itertools.combinations(range(3), len(lost)):
            data = [None if i in lost else chunk for i, chunk in enumerate(chunks)]
            found = parity.rebuild(data, {row: rows[row] for row in kept}, dict.fromkeys(lost, 4))
            assert found == {i: chunks[i] for i in lost}


@st.composite
def damaged_stripes(draw: st.DrawFn) -> tuple[list[bytes], list[int], list[int]]:
    """Chunks of random sizes, which are lost, and which parity rows are left."""
    k = draw(st.integers(1, MAX_DATA))
    m = draw(st.integers(1, min(99, MAX_DISCS - k)))
    seed = random.Random(draw(st.integers(0, 2**32)))
    chunks = [seed.randbytes(seed.choice([64, 64, 1, 33])) for _ in range(k)]
    count = draw(st.integers(0, min(k, m)))
    return chunks, sorted(seed.sample(range(k), count)), sorted(seed.sample(range(m), count))


@given(damaged_stripes())
@settings(max_examples=60, deadline=None)
def test_any_damage_within_the_limit_gives_back_the_exact_bytes(case: tuple[list[bytes], list[int], list[int]]) -> None:
    chunks, lost, kept = case
    rows = parity.encode(chunks, max(kept, default=0) + 1)
    data = [None if i in lost else chunk for i, chunk in enumerate(chunks)]
    sizes = {i: len(chunks[i]) for i in lost}
    assert parity.rebuild(data, {row: rows[row] for row in kept}, sizes) == {i: chunks[i] for i in lost}


def test_wrong_parity_gives_bytes_of_the_right_size_for_the_hash_to_refuse() -> None:
    rows = parity.encode([b"short", b"a longer chunk"], 1)
    found = parity.rebuild([None, b"another chunk!"], {0: rows[0][::-1]}, {0: 5})
    assert len(found[0]) == 5
    assert found[0] != b"short"


def test_one_loss_too_many_is_a_bug_of_the_caller() -> None:
    with pytest.raises(RuntimeError, match="2 chunks are lost and only 1"):
        parity.rebuild([None, None, b"x"], {0: b"y"}, {0: 1, 1: 1})


def test_large_chunks_are_quick_enough_to_burn() -> None:
    chunks = [memoryview(random.Random(i).randbytes(1 << 20)) for i in range(4)]
    rows = parity.encode(chunks, 2)
    assert parity.rebuild([None, *chunks[1:3], None], dict(enumerate(rows)), {0: 1 << 20, 3: 1 << 20}) == {
        0: bytes(chunks[0]),
        3: bytes(chunks[3]),
    }


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=12).filter(any), st.integers(1, 6))
def test_shares_that_come_one_by_one_add_up_to_parity(chunks: list[bytes], rows: int) -> None:
    length = max(map(len, chunks))
    for row, parity_chunk in enumerate(parity.encode(chunks, rows)):
        total = 0
        for column, chunk in enumerate(chunks):
            total ^= parity.share(row, column, chunk)
        assert total.to_bytes(length, "little") == parity_chunk
