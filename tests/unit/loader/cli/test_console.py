"""What is printed where, and which exit code an error has."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.bundle import errors
from loader.cli.console import Console, printable, run
from loader.units import counted, duration, human


class Screen:
    """A console over two strings."""

    def __init__(self, **options: bool) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        self.console = Console(out=self.out, err=self.err, **options)

    @property
    def lines(self) -> list[str]:
        return self.err.getvalue().splitlines()


def raising(error: BaseException) -> Callable[[], None]:
    def verb() -> None:
        raise error

    return verb


def test_results_go_to_stdout_and_notes_to_stderr() -> None:
    screen = Screen()
    screen.console.result("verify", "ok")
    screen.console.note("warning", "old")
    assert screen.out.getvalue() == "verify    ok\n"
    assert screen.lines == ["warning   old"]


def test_with_json_stdout_is_one_document() -> None:
    screen = Screen(as_json=True)
    screen.console.result("verify", "ok")
    screen.console.text("a listing")
    screen.console.document({"b": 1, "a": 2})
    assert json.loads(screen.out.getvalue()) == {"a": 2, "b": 1}
    assert screen.lines == ["verify    ok"]


def test_quiet_keeps_results_and_errors() -> None:
    screen = Screen(quiet=True)
    screen.console.result("verify", "ok")
    screen.console.note("warning", "old")
    assert run(screen.console, raising(errors.TrustError("no"))) == 3
    assert screen.out.getvalue() == "verify    ok\n"
    assert screen.lines[0] == "error: no"


def test_an_error_is_three_lines() -> None:
    screen = Screen()
    error = errors.RegistryError("cannot push to r:5000", why="HTTP 503", hint="try later")
    assert run(screen.console, raising(error)) == 6
    assert screen.lines == ["error: cannot push to r:5000", "  why:  HTTP 503", "  next: try later"]


def test_every_fault_of_a_config_is_listed() -> None:
    screen = Screen(as_json=True)
    error = errors.ConfigError("bundle.yaml has 2 faults", faults=[("name (line 1)", "is missing"), ("x", "unknown")])
    assert run(screen.console, raising(error)) == 2
    assert screen.lines[2:4] == ["    name (line 1): is missing", "    x: unknown"]
    assert [fault["place"] for fault in json.loads(screen.out.getvalue())["error"]["faults"]] == ["name (line 1)", "x"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.AirgapError("x"), 1),
        (errors.StorageError("x"), 1),
        (errors.ConfigError("x"), 2),
        (errors.TrustError("x"), 3),
        (errors.FormatError("x"), 4),
        (errors.MissingVolume("x"), 5),
        (errors.RegistryError("x"), 6),
        (errors.ClusterError("x"), 7),
        (errors.Pending("x"), 8),
        (errors.Interrupted("x"), 130),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(error: BaseException, status: int) -> None:
    screen = Screen()
    assert run(screen.console, raising(error)) == status
    assert screen.lines[0].startswith("error: ")
    assert screen.lines[1].startswith("  why:  ")
    assert screen.lines[-1].startswith("  next: ")


def test_what_the_system_refuses_is_three_lines_and_no_traceback(tmp_path: Path) -> None:
    def verb() -> None:
        (tmp_path / ("a" * 300)).stat()

    screen, shown = Screen(), Screen(verbose=True)
    assert run(screen.console, verb) == run(shown.console, verb) == 1
    assert screen.lines[0].startswith(f"error: cannot use {tmp_path}/aaa")
    assert screen.lines[1] == "  why:  File name too long"
    assert len(screen.lines) == 3
    assert shown.lines[0].startswith("Traceback")
    assert shown.lines[-3:] == screen.lines


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="ours"):
        run(Screen().console, raising(RuntimeError("ours")))


def test_a_log_has_every_line_and_is_named_in_the_error(tmp_path: Path) -> None:
    screen = Screen(quiet=True)
    log = tmp_path / "state" / "logs" / "now.log"
    screen.console.open_log(log)
    screen.console.note("note", "quiet on screen")
    screen.console.detail("GET /v2/")
    run(screen.console, raising(errors.TrustError("no")))
    assert [line[9:] for line in log.read_text().splitlines()][:3] == [
        "note      quiet on screen",
        "GET /v2/",
        "error: no",
    ]
    assert str(log) in screen.lines[-1]


def test_a_log_that_cannot_be_written_costs_no_run(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    screen = Screen()
    screen.console.open_log(tmp_path / "state" / "now.log")
    assert screen.console.log_path is None
    assert "no log" in screen.lines[0]


def test_a_log_whose_disk_is_full_ends_and_the_run_goes_on() -> None:
    screen = Screen()
    screen.console.open_log(Path("/dev/full"))
    assert run(screen.console, lambda: screen.console.result("step", "done")) == 0
    assert "it ends here: /dev/full" in screen.lines[0]
    assert len(screen.lines) == 1
    assert screen.out.getvalue().splitlines() == ["step      done"]


def test_results_that_nobody_can_have_are_a_fault_when_the_work_is_done() -> None:
    done: list[int] = []
    err = io.StringIO()
    with Path("/dev/full").open("w") as full:
        console = Console(out=full, err=err)

        def verb() -> None:
            console.result("step", "said")
            done.append(1)

        assert run(console, verb) == 1
    assert done == [1]
    assert err.getvalue().splitlines()[:2] == [
        "error: not all results could be printed",
        "  why:  No space left on device",
    ]


def test_details_are_shown_with_v_only() -> None:
    quiet, loud = Screen(), Screen(verbose=True)
    for screen in (quiet, loud):
        screen.console.detail("GET /v2/")
    assert quiet.lines == []
    assert loud.lines == ["GET /v2/"]


def test_nothing_can_steer_the_terminal() -> None:
    screen = Screen()
    screen.console.result("image", "a\x1b[2Jb\nc\u202e")
    assert screen.out.getvalue() == "image     a\\x1b[2Jb\\nc\\u202e\n"
    assert printable("häuser · ok") == "häuser · ok"


def test_a_question_needs_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(errors.ConfigError, match="nobody can be asked") as caught:
        Screen().console.confirm("Go on?")
    assert caught.value.hint == "--yes answers the question, --dry-run shows what would happen"
    with pytest.raises(errors.ConfigError) as caught:
        Screen().console.confirm("Go on?", instead="--no-apply only pushes")
    assert caught.value.hint.endswith("what would happen, --no-apply only pushes")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("answer", ["n\n", "\n", "", "yess\n"])
def test_anything_but_yes_is_no(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    with pytest.raises(errors.Interrupted) as caught:
        Screen().console.confirm("Go on?")
    assert "nothing was changed" in caught.value.hint


@pytest.mark.parametrize("answer", ["y\n", "YES\n"])
def test_yes_goes_on(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    screen = Screen()
    screen.console.confirm("Go on?")
    assert screen.err.getvalue() == "Go on? [y/N] "


def test_a_bar_ends_at_all_of_it_and_never_runs_back() -> None:
    err = Terminal()
    console = Console(out=io.StringIO(), err=err)
    with console.progress("push", 100) as meter:
        meter.item("abc", 10, 50)
        meter(50)
        meter.item("abc", 50, 50)
    assert "100" in err.getvalue()


def test_no_bar_where_nobody_looks() -> None:
    screen = Screen()
    with screen.console.progress("push", 100) as meter:
        meter(50)
        meter.item("abc", 10, 50)
    assert screen.err.getvalue() == ""


def test_units() -> None:
    assert [human(size) for size in (0, 9, 999, 1000, 15_000, 508_000_000, 1_100_000_000, 20e9)] == [
        "0 B",
        "9 B",
        "999 B",
        "1.00 kB",
        "15 kB",
        "508 MB",
        "1.10 GB",
        "20 GB",
    ]
    assert [duration(seconds) for seconds in (0.04, 59.9, 60, 130)] == ["0.0 s", "59.9 s", "1 m 00 s", "2 m 10 s"]
    assert [counted(number, "image") for number in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
