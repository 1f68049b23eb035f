"""What came back: a head, and a body that is still on its connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Optional, Protocol

from loader.bundle.errors import RegistryError
from loader.oci.faults import line_errors
from loader.oci.messages import Request, shown_url

_DRAIN = 64 * 2**10


class Received(Protocol):
    """A response as the library behind it has it; ``headers`` by lower-case name. Reading raises what it raises."""

    status: int
    headers: Mapping[str, Sequence[str]]

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, fewer only at the end, which is where Content-Length has it."""
        ...

    def readinto(self, view: memoryview) -> int:
        """Fill ``view``, less only at the end, wherever that is."""
        ...

    def release(self, most: int) -> None:
        """Keep the connection if fewer than ``most`` bytes are left on it, close it otherwise."""
        ...

    def hang_up(self) -> None:
        """Close the connection at once."""
        ...


class TooLarge(RegistryError):
    """An answer has more bytes than whoever asked can use."""


class Answer:
    """A response to ``request``; a context manager that gives the connection back."""

    def __init__(self, request: Request, received: Received) -> None:
        self.method = request.method
        self.url = request.url
        self.status = received.status
        self._received = received

    def header(self, name: str) -> str:
        """Return one header's value, or an empty string."""
        values = self._received.headers.get(name.lower())
        return ", ".join(values) if values else ""

    def header_values(self, name: str) -> Sequence[str]:
        """Return all values of a header that may come several times."""
        return self._received.headers.get(name.lower(), ())

    def length(self) -> Optional[int]:
        """Return Content-Length, or ``None`` when it is missing or no number."""
        text = self.header("Content-Length")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, fewer only at the end; ``RegistryError`` when the connection breaks."""
        with line_errors(self.method, self.url):
            return self._received.read(size)

    def readinto(self, view: memoryview) -> int:
        """Fill ``view``, less only at the end, 0 when nothing is left; not to be mixed with ``read``.

        ``RegistryError`` when the connection breaks; a body shorter than its Content-Length just ends.
        """
        with line_errors(self.method, self.url):
            return self._received.readinto(view)

    def read_all(self, cap: int) -> bytes:
        """Return the whole body and give the connection back; ``TooLarge`` when it has more than ``cap`` bytes."""
        with self:
            data = self.read(cap + 1)
            if len(data) > cap:
                raise TooLarge(
                    f"the answer to {self.method} {shown_url(self.url)} is too large",
                    status=self.status,
                    why=f"more than {cap} bytes",
                )
            return data

    def read_error(self, cap: int) -> bytes:
        """Return up to ``cap`` bytes of an error's body, whatever happens to the connection."""
        try:
            with self:
                return self.read(cap)
        except RegistryError:
            return b""

    def close(self) -> None:
        """Give the connection back: kept when little is left on it, closed otherwise."""
        self._received.release(_DRAIN)

    def abort(self) -> None:
        """Close the connection at once: what is left on it is not worth reading."""
        self._received.hang_up()

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()
