from __future__ import annotations

import pytest

from bundler.cli import options
from bundler.cli.options import source_date
from loader.bundle.errors import ConfigError
from tests.support.refusals import refused


def test_the_time_of_a_build_is_the_variables_or_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "now", lambda: 7)
    for given, seconds in (("1700000000", 1_700_000_000), ("0", 0), ("253402300799", 253_402_300_799), ("", 7)):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", given)
        assert source_date() == seconds
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert source_date() == 7


@pytest.mark.parametrize("given", ["253402300800", "-1", "1e9", "now", "1" * 40])
def test_a_time_that_no_date_has_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", given)
    with refused(ConfigError, "SOURCE_DATE_EPOCH", given[:40]):
        source_date()
