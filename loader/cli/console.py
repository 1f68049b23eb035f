"""What both programs print: results on stdout, progress and messages on stderr, errors in three lines."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Optional, TextIO

from loader.bundle.errors import AirgapError, ConfigError, FormatError, Interrupted, StorageError, TrustError
from loader.cli.streams import write_line
from loader.durable import make_folders
from loader.interruption import heard
from loader.meter import Meter

if TYPE_CHECKING:
    from rich.progress import TaskID

    from loader.systemlog import Audit


def printable(text: str) -> str:
    """``text`` safe for a terminal and a log line: control characters escaped, nothing else changed."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


class Console:
    """One run's output. With ``as_json`` stdout gets a single document at the end; step lines go to stderr."""

    def __init__(
        self,
        *,
        as_json: bool = False,
        quiet: bool = False,
        verbose: bool = False,
        out: Optional[TextIO] = None,
        err: Optional[TextIO] = None,
    ) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.verbose = verbose
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._log: Optional[TextIO] = None
        self._held: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._bar: Optional[_Bar] = None
        self._unsaid: Optional[OSError] = None
        self.log_path: Optional[Path] = None

    def open_log(self, path: Path) -> None:
        """Keep a log at ``path`` from now on; a folder that can't be written costs the log, not the run."""
        try:
            make_folders(path.parent, 0o700)
            self._log = path.open("a", encoding="utf-8", errors="backslashreplace")
            self.log_path = path
        except OSError as error:
            self.note("log", f"no log: {path}: {error.strerror}")

    def close(self) -> None:
        """Close the log."""
        log, self._log = self._log, None
        if log is not None:
            with contextlib.suppress(OSError):  # it could not be written, and that was said
                log.close()

    def _logged(self, line: str) -> None:
        stamp = time.strftime("%H:%M:%S", time.gmtime())
        with self._lock:
            if self._log is None:
                return
            try:
                self._log.write(f"{stamp} {line}\n")
                self._log.flush()
                return
            except OSError as error:
                why = error.strerror
                self.close()
        self.note("log", f"it ends here: {self.log_path}: {why}")

    def _print(self, text: str) -> None:
        self._unsaid = write_line(self._out, text) or self._unsaid

    def _tell(self, text: str) -> None:
        write_line(self._err, text)

    def require_said(self) -> None:
        """Raise ``StorageError`` if a result could not be printed; a reader who had enough of them is none."""
        if self._unsaid is not None:
            raise StorageError(
                "not all results could be printed",
                why=self._unsaid.strerror or str(self._unsaid),
                hint="all else was done; run the same command again with room where its output goes",
            )

    def result(self, step: str, text: str) -> None:
        """Print one finished step: stdout, or stderr when stdout is kept for JSON."""
        line = printable(f"{step:<9} {text}")
        self._logged(line)
        if not self.as_json:
            self._print(line)
        elif not self.quiet:
            self._tell(line)

    def note(self, step: str, text: str) -> None:
        """Print a message to stderr."""
        line = printable(f"{step:<9} {text}")
        self._logged(line)
        if not self.quiet:
            self._tell(line)

    def detail(self, text: str) -> None:
        """Log a request, retry or command line; ``-v`` shows it too."""
        line = printable(text)
        self._logged(line)
        if self.verbose:
            # One write: workers trace from their threads, and a line must stay a line.
            self._tell(line)

    def text(self, block: str) -> None:
        """Print a result of several lines (a listing, a diff) to stdout."""
        lines = [printable(line) for line in block.splitlines()]
        for line in lines:
            self._logged(line)
        if lines and not self.as_json:
            self._print("\n".join(lines))

    def document(self, value: Any) -> None:
        """Print the JSON document of this run, if it was asked for."""
        if self.as_json:
            self._print(json.dumps(value, indent=2, sort_keys=True))

    def hold(self, value: dict[str, Any]) -> None:
        """Keep what the JSON document of this run says, also beside the error if it ends with one."""
        self._held = value

    def held(self) -> None:
        """Print the document that was kept."""
        self.document(self._held)

    def failure(self, error: AirgapError) -> None:
        """Print an error: what failed, why, what to do next; every fault of a config below."""
        lines = [f"error: {error.message}"]
        lines.append(f"  why:  {error.why or 'see above'}" if not _faults(error) else f"  why:  {_count(error)}")
        lines += [f"    {place}: {problem}" for place, problem in _faults(error)]
        lines.append(f"  next: {error.hint or _next(error)}")
        if self.log_path is not None:
            lines[-1] += f" (log: {self.log_path})"
        for line in lines:
            self._logged(printable(line))
            self._tell(printable(line))
        self.document(
            {
                **self._held,
                "error": {
                    "code": error.exit_code,
                    "faults": [{"place": place, "problem": problem} for place, problem in _faults(error)],
                    "hint": error.hint,
                    "message": error.message,
                    "why": error.why,
                },
            }
        )

    def progress(self, title: str, total: int) -> AbstractContextManager[Meter]:
        """A bar for ``total`` bytes on a terminal, nothing elsewhere; its meter is called from any thread."""
        if self.quiet or not self._err.isatty():
            return _NoProgress()
        self._bar = _Bar(title, total, self._err)
        return self._bar

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Take the bar away while a person is asked something."""
        bar = self._bar
        if bar is not None:
            bar.hide()
        try:
            yield
        finally:
            if bar is not None:
                bar.show()

    def confirm(self, question: str, *, instead: str = "") -> None:
        """Ask once on the terminal; ``Interrupted`` for anything but yes, ``ConfigError`` where nobody can answer.

        ``instead`` is what the command can do without asking, for a person to read.
        """
        if not sys.stdin.isatty():
            raise ConfigError(
                "this would change a cluster and nobody can be asked",
                why="stdin is not a terminal",
                hint=f"--yes answers the question, --dry-run shows what would happen{instead and f', {instead}'}",
            )
        print(f"{question} [y/N] ", end="", file=self._err, flush=True)
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise Interrupted(
                "stopped at your word",
                why="the question was not answered with yes",
                hint="nothing was changed; the same command asks again",
            )


def _faults(error: AirgapError) -> tuple[tuple[str, str], ...]:
    return error.faults if isinstance(error, ConfigError) else ()


def _next(error: AirgapError) -> str:
    """What to do where the error itself has no better word."""
    if isinstance(error, FormatError):
        return "get another copy of the file; if that is the same, airgap-bundler did not make it"
    if isinstance(error, TrustError):
        return "do not use it; compare what you have with the sender's record"
    if isinstance(error, ConfigError):
        return "correct it and run this again"
    if isinstance(error, StorageError):
        return "check that path, who may use it, and the space there"
    return "run again with -v for the details"


def _count(error: AirgapError) -> str:
    count = len(_faults(error))
    return f"{count} fault{'s' if count != 1 else ''}"


class _Silent:
    """The meter where nobody looks."""

    def __call__(self, size: int, /) -> None:
        return

    def item(self, name: str, done: int, size: int) -> None:
        return


class _NoProgress:
    def __enter__(self) -> Meter:
        return _Silent()

    def __exit__(self, *_: object) -> None:
        return


class _Bar:
    """One bar for the whole (bytes of total, MB/s, time left), and a line for each blob in flight.

    It ends at 100 % only when the step ended well.
    """

    def __init__(self, title: str, total: int, err: TextIO) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.progress import TransferSpeedColumn as Speed

        self._total = total
        self._progress = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(),
            DownloadColumn(),
            Speed(),
            TimeRemainingColumn(),
            console=RichConsole(file=err, no_color="NO_COLOR" in os.environ),
            transient=True,
        )
        self._task = self._progress.add_task(title, total=total)
        self._items: dict[str, TaskID] = {}
        self._lock = threading.Lock()
        self._running = False

    def __enter__(self) -> Meter:
        self._progress.start()
        self._running = True
        return self

    def hide(self) -> None:
        """Leave the terminal to a question."""
        self._progress.stop()

    def show(self) -> None:
        """Go on below it."""
        if self._running:
            self._progress.start()

    def __call__(self, size: int, /) -> None:
        self._progress.advance(self._task, size)

    def item(self, name: str, done: int, size: int) -> None:
        """Show ``done`` of ``size`` bytes of one blob; its line goes when it is whole."""
        with self._lock:
            if done >= size:
                if name in self._items:
                    self._progress.remove_task(self._items.pop(name))
            elif name in self._items:
                self._progress.update(self._items[name], completed=done)
            else:
                self._items[name] = self._progress.add_task(f"  {name}", total=size, completed=done)

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._running = False
        if error is None:
            self._progress.update(self._task, completed=self._total)
        self._progress.stop()


def run(console: Console, verb: Callable[[], None], audit: Optional[Audit] = None) -> int:
    """Run one verb and return its exit code; only a bug leaves a traceback. ``audit`` tells the system's log."""
    error = _outcome(console, verb)
    if audit is not None:
        audit.send(error)
    return 0 if error is None else error.exit_code


def _outcome(console: Console, verb: Callable[[], None]) -> Optional[AirgapError]:
    """Run one verb and return the error it ended with, which the user has seen."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with heard():
            verb()
        console.require_said()
    except AirgapError as error:
        console.failure(error)
        return error
    except OSError as error:
        for line in traceback.format_exc().splitlines():
            console.detail(line)
        unusable = _unusable(error)
        console.failure(unusable)
        return unusable
    except KeyboardInterrupt:
        stopped = Interrupted("interrupted", why="Ctrl-C or SIGTERM", hint="the same command goes on where it stopped")
        console.failure(stopped)
        return stopped
    finally:
        console.close()
    return None


def _unusable(error: OSError) -> StorageError:
    """The error for what no other place has a word for: a name that is too long, a folder that may not be searched."""
    named = [str(name)[:300] for name in (error.filename, error.filename2) if name is not None]
    return StorageError(
        f"cannot use {' and '.join(named)}" if named else "this machine refused something",
        why=error.strerror or str(error) or type(error).__name__,
    )


def _interrupt(number: int, frame: Optional[FrameType]) -> None:
    raise KeyboardInterrupt
