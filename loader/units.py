"""Sizes and durations as people read them."""

from __future__ import annotations


def human(size: float) -> str:
    """``size`` bytes in decimal units: ``508 MB``, ``1.10 GB``."""
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.2f} {unit}"


def duration(seconds: float) -> str:
    """``1.2 s``, or ``2 m 10 s`` from a minute on."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} m {int(seconds % 60):02d} s"


def counted(number: int, noun: str) -> str:
    """``1 image``, ``8 images``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
