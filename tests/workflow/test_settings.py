"""Which windows a certificate reads: all of a few, some of many."""

import pytest

from gengap.errors import UserError
from gengap.workflow.certify import draw
from gengap.workflow.settings import Settings


def test_few_windows_are_all_read_and_nothing_is_left_to_chance():
    for n_rows, n_windows in ((4136, 3936), (8999, 8799), (9000, 3000), (32_208, 3000)):
        assert Settings().on(n_rows).n_windows == n_windows
    drawn = draw(4136, 256, Settings()).windows
    assert sorted(drawn.windows) == list(range(4136))
    values = (drawn.windows % 7).astype(float)
    assert drawn.upper_mean(values, 0, 100) == pytest.approx(values.mean(), abs=1e-12)  # no sampling term
    some = draw(9000, 256, Settings()).windows
    values = (some.windows % 7).astype(float)
    assert some.upper_mean(values, 0, 100) > values.mean() + 0.1


def test_what_is_asked_for_is_drawn():
    assert Settings(n_windows=60).on(100_000).n_windows == Settings(n_windows=60).on(300).n_windows == 60
    assert len(draw(4136, 256, Settings(n_windows=60)).windows.certificate) == 60


def test_too_few_windows_are_refused_with_their_number():
    with pytest.raises(UserError, match=r"200 \+ 3000 windows cannot be drawn from 201 training rows: ask for fewer"):
        draw(201, 256, Settings())
    with pytest.raises(UserError, match="n_windows = 1: choose at least 2"):
        Settings(n_windows=1)
