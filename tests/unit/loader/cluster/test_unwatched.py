from __future__ import annotations

import pytest

from loader.cluster.objects import is_unwatched


@pytest.mark.parametrize(
    ("item", "waited", "unwatched"),
    [
        ({"status": {}}, 10.0, True),
        ({}, 10.0, True),
        ({}, 9.9, False),
        ({"status": {"observedGeneration": 1}}, 3600.0, False),
        (None, 3600.0, False),
    ],
)
def test_nobody_ever_wrote_a_status_and_there_was_time_to(
    item: dict[str, object] | None, waited: float, unwatched: bool
) -> None:
    assert is_unwatched(item, waited) is unwatched
