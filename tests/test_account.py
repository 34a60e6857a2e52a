"""What is credited to an account adds up, and is as good as its worst part."""

from __future__ import annotations

import pytest

from greeninfer._account import Credited, Source
from greeninfer._energy import Quality

PACKAGE = "rapl/0/package"


def source(domain: str = PACKAGE, quality: Quality = "measured", gain: tuple[float, float] = (1.0, 1.0)) -> Source:
    return Source(domain, quality, gain)


def test_a_credit_adds_up_by_domain() -> None:
    credit = Credited()
    credit.add_share(source("a"), (5, 1.0, 0.5, 0.25))
    credit.add_share(source("b"), (7, 2.0, 0.5, 0.25))
    credit.add_share(source("a"), (11, 4.0, 0.5, 0.25))
    assert credit.by_domain == {"a": 16, "b": 7}
    assert credit.nanojoules == 23
    assert (credit.static, credit.spread, credit.variance) == (7.0, 1.5, 0.75)
    assert not credit.missing


@pytest.mark.parametrize(
    ("parts", "worst"),
    [
        (["measured", "measured"], "measured"),
        (["measured", "shared", "measured"], "shared"),
        (["shared", "estimated", "shared"], "estimated"),
        (["estimated", "measured"], "estimated"),
    ],
)
def test_quality_is_that_of_the_worst_part(parts: list[Quality], worst: Quality) -> None:
    credit = Credited()
    for quality in parts:
        credit.add_share(source(quality=quality), (1, 0.0, 0.0, 0.0))
    assert credit.quality == worst


def test_the_gain_covers_those_of_all_parts() -> None:
    credit = Credited()
    credit.add_share(source(gain=(0.97, 1.03)), (1, 0.0, 0.0, 0.0))
    credit.add_share(source(gain=(0.95, 1.01)), (1, 0.0, 0.0, 0.0))
    assert credit.gain == (0.95, 1.03)
