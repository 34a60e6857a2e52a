"""What a figure says of itself."""

from __future__ import annotations

import pytest

from greeninfer import Energy


def figure(quality: str | None, joules: float | None, doubt: float, *, provisional: bool, complete: bool) -> Energy:
    gain = (0.6, 1.7) if quality == "estimated" else (0.97, 1.03)
    return Energy(joules, joules, {}, 0.0, joules, doubt, gain, quality, 1.0, provisional, complete)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("energy", "words"),
    [
        (figure("measured", 2.0, 0.5, provisional=False, complete=True), "2 J ± 0.5 (measured)"),
        (figure("measured", 2.0, 1e-17, provisional=True, complete=False), "2 J ± 0 (measured, provisional, partial)"),
        (
            figure("estimated", 0.25, 0.01, provisional=False, complete=True),
            "0.25 J ± 0.01 (estimated, true x0.6 to x1.7)",
        ),
        (figure(None, None, 0.0, provisional=False, complete=False), "joules not known"),
    ],
)
def test_a_figure_says_how_it_is_known(energy: Energy, words: str) -> None:
    assert str(energy) == words


def test_the_interval_puts_doubt_and_gain_together() -> None:
    energy = figure("estimated", 1.0, 0.5, provisional=False, complete=True)
    assert energy.interval_joules == pytest.approx((0.3, 2.55))
    assert figure(None, None, 0.0, provisional=False, complete=False).interval_joules is None
