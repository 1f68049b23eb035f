"""Discs in any order: which set they are of, what each one carries, and what is said of the others."""

from __future__ import annotations

import dataclasses

import pytest

from loader.bundle import discs as module
from loader.bundle.digest import sha256_hex
from loader.bundle.discs import bundle_head, open_set, read_common
from loader.bundle.errors import FormatError, StorageError, TrustError
from loader.bundle.mediaset import CHUNK, SetFile
from loader.bundle.verify import Trust
from tests.support.bundles import full_recipe, make_policy, make_signer, make_trust
from tests.support.discs import MemoryDisc, bundle_set, make_set, opened
from tests.support.refusals import refused


def test_any_order_and_any_disc_gives_the_set() -> None:
    made = bundle_set()
    found = opened(made.discs("p01", "v03", "v01"))
    assert found.media == made.media
    assert sorted(found.copies) == ["p01", "v01", "v03"]
    assert found.notes == ()
    assert [signer.key.name for signer in found.signers] == ["builder"]


def test_the_bundles_own_head_stands_on_every_disc() -> None:
    for name in bundle_set().shares:
        assert bundle_head(opened(bundle_set().discs(name))) == full_recipe().head


def test_without_trust_nothing_vouches() -> None:
    assert open_set(bundle_set().discs("v01"), None).signers == ()


def test_signatures_of_all_discs_count_together() -> None:
    made = bundle_set()
    bare, signed = made.disc("v01"), made.disc("v02")
    del bare.files["SHA256SUMS.builder.sig"]
    assert sorted(opened([bare, signed]).copies) == ["v01", "v02"]
    with refused(TrustError, "no trusted key signed this media set"):
        opened([bare])


def test_a_set_that_another_key_signed_is_refused() -> None:
    with refused(TrustError, "no trusted key signed this media set"):
        opened(bundle_set().discs(), make_trust(make_policy(make_signer("approver"))))


def test_discs_of_other_sets_are_named_and_left_out() -> None:
    made = bundle_set()
    build = make_set(b"another build" * CHUNK, 4 * CHUNK, 0).disc("v01", where="build")
    cut = make_set(full_recipe().archive(), 3 * CHUNK, 1, head=full_recipe().head).disc("v01", where="cut")
    other = make_set(b"x" * CHUNK, CHUNK, 0, name="other").disc("v01", where="elsewhere")
    found = opened([*made.discs(), build, cut, other])
    text = "\n".join(found.notes)
    assert "build is a disc of another build of demo-1" in text
    assert "cut is a disc of another cut of demo-1" in text
    assert "elsewhere is a disc of another set: other-1, not demo-1" in text
    assert found.copies["v01"] == (found.discs[0],)


def test_a_disc_of_another_run_with_the_same_share_is_used() -> None:
    made = bundle_set()
    found = opened([made.disc("v01"), made.change(program="later").disc("v02", where="later")])
    assert sorted(found.copies) == ["v01", "v02"]
    assert found.notes == ("later has the same share with other files beside it: it was written in another run",)


def test_the_same_disc_again_is_said() -> None:
    made = bundle_set()
    found = opened([*made.discs(), made.disc("v02", where="again")])
    assert found.notes == ("disc v02 is here twice: disc-v02 and again",)
    assert [disc.name for disc in found.copies["v02"]] == ["disc-v02", "again"]


def test_a_disc_whose_own_list_is_damaged_still_gives_its_segments() -> None:
    made = bundle_set()
    hurt = made.disc("v02")
    hurt.flip("SHA256SUMS", 3)
    found = opened([made.disc("v01"), hurt])
    assert sorted(found.copies) == ["v01", "v02"]
    assert found.notes == ("disc-v02 has a damaged SHA256SUMS or set.json",)


def test_a_disc_without_a_readable_list_still_gives_its_segments() -> None:
    made = bundle_set()
    hurt = made.disc("v02")
    hurt.unreadable["SHA256SUMS"] = frozenset({0})
    found = opened([hurt, made.disc("v01")])
    assert sorted(found.copies) == ["v01", "v02"]
    assert "Input/output error" in found.notes[0]


def test_a_medium_that_cannot_be_listed_is_told_and_left_out() -> None:
    class Dead(MemoryDisc):
        def entries(self) -> dict[str, str]:
            raise StorageError("cannot read tray", why="Input/output error")

    found = opened([Dead("tray", {}), bundle_set().disc("v01")])
    assert sorted(found.copies) == ["v01"]
    assert found.notes == ("tray: cannot read tray: Input/output error",)


def test_a_damaged_set_json_is_taken_from_another_disc() -> None:
    made = bundle_set()
    hurt = made.disc("v01")
    hurt.flip("set.json", 40)
    assert sorted(opened([hurt, made.disc("v02")]).copies) == ["v01", "v02"]
    with refused(TrustError, "set.json does not match the signed SHA256SUMS"):
        opened([hurt])


def test_common_files_are_taken_from_the_first_disc_that_has_them_right() -> None:
    made = bundle_set()
    one, two, three = made.discs("v01", "v02", "v03")
    del one.files["chunks.idx"]
    two.flip("chunks.idx", 0)
    assert opened([one, two, three]).index == made.common["chunks.idx"]
    with refused(TrustError, "chunks.idx of the set does not match"):
        opened([one, two])


def test_a_disc_that_carries_nothing_is_said() -> None:
    made = bundle_set()
    empty = made.disc("v02")
    for name in made.shares["v02"]:
        del empty.files[name]
    assert opened([made.disc("v01"), empty]).notes == ("disc-v02 carries no segment of demo-1",)


def test_what_no_disc_has_is_refused() -> None:
    with refused(TrustError, "report.html", "no disc here carries it"):
        read_common([], SetFile("report.html", 1, sha256_hex(b"x")))


def test_no_disc_at_all_is_a_bug() -> None:
    with pytest.raises(RuntimeError):
        opened([])


@pytest.mark.parametrize("count", [16, 17])
def test_signatures_are_counted_before_they_are_read(count: int) -> None:
    disc = bundle_set().disc("v01")
    disc.files.update({f"SHA256SUMS.x{number}.sig": b"x" for number in range(count - 1)})
    if count == 16:
        assert opened([disc]).signers
        return
    with refused(FormatError, "too many signatures on disc-v01"):
        opened([disc])
    assert disc.opened == []


def test_the_set_list_is_not_judged_by_the_bundles_threshold() -> None:
    keys = (make_signer("builder"), make_signer("approver"))
    trust: Trust = make_trust(make_policy(*keys, rule=dataclasses.replace(make_policy().rule, threshold=2)))
    assert opened(bundle_set().discs(), trust).signers[0].key.name == "builder"


def test_the_modules_words_for_files_are_the_protocols() -> None:
    assert set(bundle_set().disc("v01").entries().values()) == {module.FILE}
