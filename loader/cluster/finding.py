"""What a person should know before anything is written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A ``blocker`` stops, a ``warning`` does not; ``hint`` says what to do."""

    level: str
    text: str
    hint: str

    def __str__(self) -> str:
        return f"{self.text} ({self.hint})" if self.hint else self.text
