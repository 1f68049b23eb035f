from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from loader.bundle.errors import AirgapError, ConfigError, StorageError, TrustError
from loader.bundle.keys import PublicKey
from loader.keyring import Keyring, with_revoked
from loader.signing import CryptographyCheck, Signer
from loader.trust import load_trust, parse_toml
from tests.support.bundles import make_signer
from tests.support.refusals import refused

OLD, SECOND, NEW = make_signer("old"), make_signer("second"), make_signer("new")
CHECK = CryptographyCheck()


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    folder = tmp_path / "trust"
    folder.mkdir()
    for signer in (OLD, SECOND):
        (folder / f"{signer.label}.pub").write_bytes(signer.public.pem)
    return Keyring(folder)


@pytest.fixture
def offered(tmp_path: Path) -> Path:
    path = tmp_path / "new.pub"
    path.write_bytes(NEW.public.pem)
    return path


def names(ring: Keyring) -> dict[str, str]:
    return {row.key.name: row.state for row in ring.listed()}


def endorse(file: Path, *signers: Signer) -> list[Path]:
    paths = [file.with_name(f"by-{signer.label}.sig") for signer in signers]
    for path, signer in zip(paths, signers):
        path.write_bytes(signer.sign(file.read_bytes()))
    return paths


def test_a_key_of_the_right_fingerprint_comes_in(tmp_path: Path, offered: Path) -> None:
    ring = Keyring(tmp_path / "none-yet" / "trust")
    assert ring.listed() == ()
    key, endorsers = ring.add(offered, fingerprint=NEW.public.fingerprint, check=CHECK)
    assert (key, endorsers) == (PublicKey("new", *_parts(NEW.public)), ())
    assert names(ring) == {"new": "trusted"}
    assert [one.name for one in load_trust(ring.folder).usable] == ["new"]


def _parts(key: PublicKey) -> tuple[bytes, str, int]:
    return key.spki, key.algorithm, key.order


@pytest.mark.parametrize("form", ["{0}", "sha256:{0}", "SHA256:{1}", "{1}", "sha256: {2}"])
def test_a_fingerprint_as_people_print_it(form: str, ring: Keyring, offered: Path) -> None:
    digits = NEW.public.fingerprint[7:]
    spaced = " ".join(digits[start : start + 8] for start in range(0, 64, 8))
    ring.add(offered, fingerprint=form.format(digits, digits.upper(), spaced), check=CHECK)
    assert "new" in names(ring)


@pytest.mark.parametrize("digits", ["0" * 64, NEW.public.fingerprint[7:-1] + "g", NEW.public.fingerprint[7:-1], ""])
def test_no_key_comes_in_by_another_fingerprint(digits: str, ring: Keyring, offered: Path) -> None:
    with pytest.raises(AirgapError):
        ring.add(offered, fingerprint=f"sha256:{digits}", check=CHECK)
    assert "new" not in names(ring)


def test_a_folder_that_cannot_be_locked_is_told(ring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(_: int, __: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with refused(StorageError, str(ring.folder), "No locks available"):
        ring.remove("old")


def test_adding_again_changes_nothing(ring: Keyring, offered: Path) -> None:
    for _ in range(2):
        ring.add(offered, fingerprint=NEW.public.fingerprint, check=CHECK)
    assert names(ring) == {"new": "trusted", "old": "trusted", "second": "trusted"}


def test_one_name_is_one_key_and_one_key_is_one_name(ring: Keyring, offered: Path) -> None:
    with refused(ConfigError, "another key is called old"):
        ring.add(offered, name="old", fingerprint=NEW.public.fingerprint, check=CHECK)
    ring.add(offered, fingerprint=NEW.public.fingerprint, check=CHECK)
    with refused(ConfigError, "trusted already, as new"):
        ring.add(offered, name="newer", fingerprint=NEW.public.fingerprint, check=CHECK)
    with refused(ConfigError, "can't name a key"):
        ring.add(offered, name="../x", fingerprint=NEW.public.fingerprint, check=CHECK)


def test_the_old_key_brings_in_the_new_one(ring: Keyring, offered: Path) -> None:
    _, endorsers = ring.add(offered, endorsements=endorse(offered, OLD), check=CHECK)
    assert endorsers == ("old",)
    assert "new" in names(ring)


def test_a_stranger_or_the_new_key_itself_brings_in_nobody(ring: Keyring, offered: Path) -> None:
    for signer in (NEW, make_signer("stranger")):
        with refused(TrustError, "no trusted key's signature"):
            ring.add(offered, endorsements=endorse(offered, signer), check=CHECK)
    (other,) = endorse(offered, OLD)
    offered.write_bytes(offered.read_bytes().replace(b"\n", b"\r\n"))
    with refused(TrustError, "no trusted key's signature"):
        ring.add(offered, endorsements=[other], check=CHECK)
    assert "new" not in names(ring)


def test_one_of_two_keys_does_not_bring_in_its_own_second(ring: Keyring, offered: Path) -> None:
    (ring.folder / "policy.toml").write_text('[names.rook]\nthreshold = 2\nrequired = ["second"]\n')
    with refused(TrustError, "required signer is missing"):
        ring.add(offered, endorsements=endorse(offered, OLD), check=CHECK)
    (ring.folder / "policy.toml").write_text("threshold = 2\n")
    with refused(TrustError, "not enough signers"):
        ring.add(offered, endorsements=[*endorse(offered, OLD), *endorse(offered, OLD)], check=CHECK)
    with pytest.raises(TrustError) as caught:
        ring.add(offered, endorsements=endorse(offered, OLD), check=CHECK)
    assert "--endorsed-by" in caught.value.hint
    _, endorsers = ring.add(offered, endorsements=endorse(offered, OLD, SECOND), check=CHECK)
    assert endorsers == ("old", "second")


def test_a_revoked_key_neither_comes_back_nor_vouches(ring: Keyring, offered: Path) -> None:
    assert ring.revoke("old") == OLD.public.fingerprint
    assert names(ring) == {"old": "revoked", "second": "trusted"}
    with refused(TrustError, "no trusted key's signature"):
        ring.add(offered, endorsements=endorse(offered, OLD), check=CHECK)
    ring.remove("old")
    offered.write_bytes(OLD.public.pem)
    with refused(TrustError, "revoked here"):
        ring.add(offered, name="old", fingerprint=OLD.public.fingerprint, check=CHECK)


def test_a_key_that_is_not_here_can_be_revoked_by_its_fingerprint(ring: Keyring, offered: Path) -> None:
    assert ring.revoke(NEW.public.fingerprint) == NEW.public.fingerprint
    ring.revoke(NEW.public.fingerprint.removeprefix("sha256:").upper())
    assert (ring.folder / "policy.toml").read_text().count(NEW.public.fingerprint) == 1
    with refused(TrustError, "revoked here"):
        ring.add(offered, fingerprint=NEW.public.fingerprint, check=CHECK)
    with refused(ConfigError, "no key is called 'nobody'", "old, second"):
        ring.revoke("nobody")


def test_a_stolen_key_stops_counting_even_where_nothing_is_loaded_then(ring: Keyring) -> None:
    (ring.folder / "policy.toml").write_text("threshold = 2\n")
    ring.revoke("old")
    assert "threshold" in ring.fault()
    with pytest.raises(ConfigError):
        load_trust(ring.folder)


def test_a_key_the_policy_needs_is_not_removed(ring: Keyring) -> None:
    (ring.folder / "policy.toml").write_text('required = ["old"]\n')
    with refused(ConfigError, "old is needed: without it", "policy.toml"):
        ring.remove("old")
    assert ring.remove("second").name == "second"
    assert names(ring) == {"old": "trusted"}


def test_the_last_key_may_go(ring: Keyring) -> None:
    ring.remove("old")
    ring.remove(SECOND.public.fingerprint)
    assert ring.listed() == ()
    assert "no trusted key is left" in ring.fault()


def test_a_key_of_a_kind_the_policy_leaves_out(ring: Keyring, offered: Path) -> None:
    (ring.folder / "policy.toml").write_text('algorithms = ["ecdsa-p384-sha384"]\n')
    assert names(ring) == {"old": "not allowed", "second": "not allowed"}
    with refused(TrustError, "does not allow"):
        ring.add(offered, fingerprint=NEW.public.fingerprint, check=CHECK)


def test_one_key_file_is_listed_and_not_changed(offered: Path) -> None:
    ring = Keyring(offered)
    assert names(ring) == {offered.stem: "trusted"}
    assert ring.fault() == ""
    before = offered.read_bytes()
    for change in (ring.remove, ring.revoke):
        with refused(ConfigError, "one key file"):
            change(offered.stem)
    with refused(ConfigError, "one key file"):
        ring.add(offered, fingerprint=NEW.public.fingerprint, check=CHECK)
    assert offered.read_bytes() == before


A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


@pytest.mark.parametrize(
    "text",
    [
        "",
        "threshold = 2\n",
        "# a comment\n[names.rook]\nthreshold = 2\n",
        "revoked = []\nthreshold = 1\n",
        f'revoked = ["{A}"]\n',
        f'threshold = 1\nrevoked = [\n  "{A}", # stolen\n]\n[names.x]\nthreshold = 1\n',
    ],
)
def test_one_more_revoked_key_leaves_the_rest_as_it_was_written(text: str) -> None:
    before = parse_toml(text.encode(), "before")
    made = with_revoked(text, B)
    assert parse_toml(made.encode(), "made") == {**before, "revoked": [B, *before.get("revoked", [])]}
    assert "comment" not in text or "# a comment" in made


@pytest.mark.parametrize("text", ['"revoked" = []\n', f'revoked = ["{A}" # [sic]\n]\n', "x = '''\nrevoked = []\n'''\n"])
def test_a_policy_written_in_an_odd_way_is_left_to_people(text: str) -> None:
    if "'''" in text:
        text += "revoked = [ ]\n"
    with refused(ConfigError, "not changed by program"):
        with_revoked(text, B)
