"""Old bundles, and a state folder someone else wrote."""

from __future__ import annotations

import fcntl
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from loader.bundle.errors import AirgapError, ConfigError, StorageError, TrustError
from loader.bundle.verify import VerifiedBundle
from loader.history import History
from loader.signing import Signer
from tests.support.bundles import NOW, make_policy, make_signer, make_trust, open_head, tiny_recipe
from tests.support.refusals import refused

BUILDER, APPROVER = make_signer("builder"), make_signer("approver")


def bundle(sequence: int, *signers: Signer, **fields: Any) -> VerifiedBundle:
    recipe = tiny_recipe().change(sequence=sequence, **fields)
    data = type(recipe)(recipe.manifest, recipe.contents, signers or (BUILDER,)).archive()
    return open_head(data, make_trust(make_policy(BUILDER, APPROVER)))


def imported(state: Path, *bundles: VerifiedBundle) -> History:
    history = History(state)
    for one in bundles:
        history.record(one, when=NOW)
    return history


def test_a_lower_sequence(tmp_path: Path) -> None:
    history = imported(tmp_path, bundle(7))
    for attempt in (history.check, lambda old: history.record(old, when=NOW)):
        with refused(TrustError, "demo 1", "sequence 6; 7 was imported"):
            attempt(bundle(6))


def test_an_equal_sequence_with_another_id(tmp_path: Path) -> None:
    history = imported(tmp_path, bundle(7))
    other = bundle(7, created="2025-12-02T00:00:00Z")
    with refused(TrustError, "demo 1", "sequence 7 was imported with another id", bundle(7).id[:12]):
        history.record(other, when=NOW)


def test_the_same_bundle_again_is_no_replay(tmp_path: Path) -> None:
    history = imported(tmp_path, bundle(7), bundle(7))
    before = (tmp_path / "sequences.json").read_bytes()
    history.record(bundle(7), when=NOW)
    assert (tmp_path / "sequences.json").read_bytes() == before


def test_an_old_bundle_with_one_signer_less(tmp_path: Path) -> None:
    history = imported(tmp_path, bundle(7, APPROVER, BUILDER))
    for signers in ((BUILDER,), (APPROVER,)):
        with refused(TrustError, "7 was imported"):
            history.record(bundle(6, *signers), when=NOW)


def test_an_old_bundle_under_another_version(tmp_path: Path) -> None:
    history = imported(tmp_path, bundle(7, version="2"))
    with refused(TrustError, "demo 9", "7 was imported"):
        history.record(bundle(6, version="9"), when=NOW)


def test_a_thief_who_jumped_ahead_loses_the_jump_with_the_key(tmp_path: Path) -> None:
    history = imported(tmp_path, bundle(2**53 - 1, APPROVER))
    history.record(bundle(8, BUILDER), when=NOW)
    newest = history.newest(bundle(8, BUILDER))
    assert newest is not None
    assert newest.sequence == 8


def test_other_bundles_have_sequences_of_their_own(tmp_path: Path) -> None:
    history = imported(tmp_path, bundle(7))
    assert history.check(bundle(1, name="other")) is None


def test_going_back_on_purpose_is_recorded_and_raises_no_floor(tmp_path: Path) -> None:
    history = imported(tmp_path, bundle(7))
    history.record(bundle(6), when=NOW, reason="\x1b[2Jwe must\n go back \u00e9" + "x" * 600)
    state = json.loads((tmp_path / "sequences.json").read_bytes())
    assert [entry["sequence"] for entry in state["seen"]] == [7]
    (override,) = state["overrides"]
    assert (override["sequence"], override["when"], len(override["reason"])) == (6, NOW, 500)
    assert override["reason"].startswith("\\x1b[2Jwe must  go back \\xe9xxx")
    with refused(TrustError, "7 was imported"):
        history.check(bundle(6))


def test_a_reset_is_of_one_name_and_one_key_and_leaves_a_record(tmp_path: Path) -> None:
    history = imported(tmp_path, bundle(9), bundle(9, name="other"))
    key = make_signer("builder").public.fingerprint
    with refused(ConfigError, "no sequence of 'none'", "demo, other"):
        history.reset("none", fingerprint=None, when=NOW, reason="a slip")
    with refused(ConfigError, "no sequence of 'demo'"):
        history.reset("demo", fingerprint=make_signer("stranger").public.fingerprint, when=NOW, reason="a slip")
    assert [entry.sequence for entry in history.reset("demo", fingerprint=key, when=NOW, reason="new builder")] == [9]
    history.check(bundle(7))
    with refused(TrustError, "older"):
        history.check(bundle(7, name="other"))
    kept = json.loads((tmp_path / "sequences.json").read_text())["overrides"]
    assert [(row["name"], row["sequence"], row["reason"]) for row in kept] == [("demo", 9, "reset: new builder")]


def test_checking_alone_writes_nothing(tmp_path: Path) -> None:
    History(tmp_path / "state").check(bundle(7))
    assert list(tmp_path.iterdir()) == []


STATES = {
    "empty": b"",
    "garbled": b"\x00\xff\x17",
    "cut": b'{"formatVersion":1,"overrides":[],"se',
    "foreign": b'{"hello":"world"}\n',
    "newer": b'{"formatVersion":2,"overrides":[],"seen":[]}\n',
    "with spaces": b'{"formatVersion": 1, "overrides": [], "seen": []}\n',
    "with a negative sequence": b'{"formatVersion":1,"overrides":[],"seen":'
    b'[{"fingerprint":"sha256:0","id":"0","name":"demo","sequence":-1}]}\n',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_file_that_is(name: str, tmp_path: Path) -> None:
    # Taking it for "nothing was imported yet" would be a way to replay.
    file = tmp_path / "sequences.json"
    file.write_bytes(STATES[name])
    for attempt in (History(tmp_path).check, lambda one: History(tmp_path).record(one, when=NOW)):
        with refused(StorageError, str(file), "not a state file"):
            attempt(bundle(7))
    assert file.read_bytes() == STATES[name]


def test_a_state_file_larger_than_any(tmp_path: Path) -> None:
    (tmp_path / "sequences.json").write_bytes(b" " * (16 * 2**20 + 1))
    with refused(AirgapError, "sequences.json", "too large"):
        History(tmp_path).check(bundle(7))


def test_a_state_file_that_leads_nowhere(tmp_path: Path) -> None:
    # A link to a disk that is not mounted: not knowing is not the same as having imported nothing.
    (tmp_path / "sequences.json").symlink_to(tmp_path / "gone.json")
    with refused(StorageError, "sequences.json"):
        History(tmp_path).check(bundle(7))


def test_a_state_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"")
    with refused(StorageError, str(tmp_path / "state")):
        History(tmp_path / "state").record(bundle(7), when=NOW)
    with refused(StorageError, str(tmp_path / "state")):
        History(tmp_path / "state").check(bundle(7))


def test_a_second_run_on_one_state_is_turned_away_and_the_first_goes_on(tmp_path: Path) -> None:
    history = History(tmp_path / "state")
    with history.running():
        history.record(bundle(7), when=NOW)
        with refused(StorageError, "another run uses the state folder"), History(tmp_path / "state").running():
            pass
        with History(tmp_path / "other").running():
            pass
    with history.running():
        pass
    (tmp_path / "file").write_bytes(b"")
    with refused(StorageError, "cannot use the state folder"), History(tmp_path / "file").running():
        pass


def test_a_state_folder_that_cannot_be_locked_is_in_nobodys_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(_: int, __: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with refused(StorageError, "cannot use the state folder", "No locks available"), History(tmp_path).running():
        pass


def test_two_loads_at_once_cannot_both_win(tmp_path: Path) -> None:
    one, other = bundle(7), bundle(7, created="2025-12-02T00:00:00Z")
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def load(wanted: VerifiedBundle) -> None:
        start.wait()
        try:
            History(tmp_path).record(wanted, when=NOW)
        except TrustError:
            outcomes.append("refused")
        else:
            outcomes.append(wanted.id)

    threads = [threading.Thread(target=load, args=(wanted,)) for wanted in (one, other) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) in (sorted([one.id] * 4 + ["refused"] * 4), sorted([other.id] * 4 + ["refused"] * 4))
