"""What a refusal must be: the right kind of error, naming the object, in plain lines a person can read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from loader.bundle.errors import AirgapError, BundleError


@contextlib.contextmanager
def refused(kind: type[AirgapError], *words: str) -> Iterator[None]:
    """Require exactly ``kind`` (hence its exit code), with every one of ``words`` in its message or reason.

    ``BundleError`` is for a case where the bundle is wrong in several ways at once, and any may be met first.

    What reaches a terminal is printable: an attacker's names must not move the cursor.
    """
    with pytest.raises(kind) as caught:
        yield
    error = caught.value
    assert type(error) is kind or kind is BundleError
    text = f"{error.message}: {error.why}"
    missing = [word for word in words if word not in text]
    assert missing == [], text
    assert error.message.isprintable(), text
    assert "\x1b" not in text
