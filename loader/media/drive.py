"""The drive: what the places that were named hold now, and how another disc is asked for. All verbs use this one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from loader.bundle.discs import DiscSet, adopt, stranger
from loader.bundle.errors import BundleError, MissingVolume, StorageError, TrustError
from loader.bundle.mediaset import MediaSet, label
from loader.bundle.verify import Trust
from loader.media.opened import OpenedMedia, open_media
from loader.media.places import fingerprint, open_discs


@dataclass(frozen=True)
class DrivePorts:
    """What changing discs needs from outside.

    ``ask`` shows a line and waits until the callable says that another disc is in, or a person says so; it returns
    False where nobody can answer. ``say`` tells (step, text).
    """

    ask: Callable[[str, Callable[[], bool]], bool]
    say: Callable[[str, str], None]


_BY_TURNS = "; if that asks for two discs by turns, a blob stands on both"


def disc_word(name: str) -> str:
    """What people call a volume: ``2`` for ``v02``, ``P1`` for ``p01``."""
    return f"{'P' if name[0] == 'p' else ''}{int(name[1:])}"


def insert_line(media: MediaSet, name: str, others: Sequence[str] = ()) -> str:
    """The line that asks for one disc; ``others`` would do as well."""
    line = f"Insert disc {disc_word(name)} of {len(media.volumes)}, label {label(media.bundle, name)}"
    if not others:
        return line
    return f"{line} (or {'one of ' if len(others) > 1 else ''}{', '.join(map(disc_word, others))})"


class NotInserted(MissingVolume):
    """A disc is needed that nobody inserts."""


class Drive:
    """The discs in ``sources``, opened anew after each change, so that a drive can be emptied while we wait.

    The set is that of the first discs found. ``way_out`` is told where the disc that is needed does not come.
    Raises what opening them raises.
    """

    def __init__(self, sources: Sequence[Path], trust: Trust, ports: DrivePorts) -> None:
        self._sources = sources
        self._trust = trust
        self._ports = ports
        self._stack = ExitStack()
        self._seen: Optional[object] = None
        self.before_change: Callable[[], None] = _nothing
        self.way_out = ""
        self.discs: DiscSet = self._open().discs
        self.media: MediaSet = self.discs.media
        self.changes = 0

    @property
    def here(self) -> Sequence[str]:
        """Names of the volumes that are at hand."""
        return list(self.discs.copies)

    def _open(self) -> OpenedMedia:
        self._seen = self._fingerprint()
        return self._stack.enter_context(open_media(self._sources, self._trust))

    def _fingerprint(self) -> object:
        return [fingerprint(source) for source in self._sources]

    def is_changed(self) -> bool:
        """Tell whether the places hold something, and something else than when they were opened."""
        found = self._fingerprint()
        return found != self._seen and found != [None] * len(self._sources)

    def is_gone(self) -> bool:
        """Tell whether what was opened is not there any more: a read error then is no damage of the disc."""
        return self._fingerprint() != self._seen

    def say(self, step: str, text: str) -> None:
        """Tell a person something."""
        self._ports.say(step, text)

    def fetch(self, wanted: Sequence[str], line: str) -> None:
        """Have one of the volumes ``wanted`` at hand, asking with ``line`` as often as it takes.

        What is put in instead is said by name. Raises ``NotInserted`` with ``line`` where nobody can answer.
        """
        while not any(name in self.discs.copies for name in wanted):
            self.change(wanted, line)

    def change(self, wanted: Sequence[str], line: str) -> None:
        """Ask once, and open what the places hold then."""
        self.before_change()
        before = self.here
        self._stack.close()
        self._stack = ExitStack()
        self.changes += 1
        if not self._ports.ask(line, self.is_changed):
            words = ", ".join(f"{disc_word(name)} ({label(self.media.bundle, name)})" for name in wanted[:6])
            raise NotInserted(
                f"disc {words} of {self.media.name} is needed",
                why="it is not in the drive, and nobody can be asked for it here",
                hint=f"{line}, and run the same command again{self.way_out and f'{_BY_TURNS}: {self.way_out}'}",
            )
        self.discs = self._opened_again()
        for note in self._complaints(before, wanted):
            self._ports.say("warning", note)

    def _opened_again(self) -> DiscSet:
        nothing = adopt(self.discs, (), ())
        try:
            found = self._open().discs
        except TrustError as error:
            return adopt(self.discs, (), (f"this disc is not one of {self.media.name}: {error}",))
        except (BundleError, StorageError) as error:
            return self._damaged(nothing, error)
        if found.media.set_id != self.media.set_id:
            what, _ = stranger(self.media, found.media)
            return adopt(self.discs, (), (f"what is in the drive {what}", *found.notes))
        return found

    def _damaged(self, nothing: DiscSet, error: Exception) -> DiscSet:
        """What a disc without a readable list still gives: its segments, each chunk checked as it is read."""
        try:
            found = adopt(self.discs, open_discs(self._sources, self._stack), (str(error),))
        except (BundleError, StorageError):
            return adopt(nothing, (), (str(error),))
        return found

    def _complaints(self, before: Sequence[str], wanted: Sequence[str]) -> Sequence[str]:
        notes = list(self.discs.notes)
        here = self.here
        if here and not any(name in here for name in wanted):
            again = " again" if set(here) <= set(before) else ""
            names = ", ".join(f"{disc_word(name)} ({label(self.media.bundle, name)})" for name in here)
            notes.append(f"this is disc {names}{again}; disc {', '.join(map(disc_word, wanted))} is needed now")
            notes += [self.way_out] if self.way_out else []
        return notes

    def close(self) -> None:
        """Close what is open."""
        self._stack.close()


def _nothing() -> None:
    return
