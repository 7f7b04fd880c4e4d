"""Forecasts: made again from what they hold, right where the law is, stated once and only beforehand."""

import math

import pytest
from made_up import made_up_record

from gengap import models, paths
from gengap.errors import UserError
from gengap.records.forecast import QUANTITIES, Forecast, load_forecasts, predict, state_forecast

KNOWN = ("ladder-50k", "ladder-100k", "ladder-200k", "ladder-400k")


def write_rung(model_size, heldout):
    """The record of a rung with this held-out loss."""
    spec = models.get(model_size)
    names = {"family": spec.family, "size": spec.size}
    record = made_up_record(heldout=heldout, n_params=spec.n_params, n_train_tokens=spec.n_train_tokens, **names)
    record.write()
    return record


@pytest.fixture
def ladder(empty_project):
    """Four rungs whose held-out loss is 100 N^-0.3, off by 1 % in turns; their bounds are nearly the same."""
    for i, size in enumerate(KNOWN):
        record = write_rung(size, 100 * models.get(size).n_params ** -0.3 * (1 + 0.01 * (-1) ** i))
    return record


@pytest.mark.parametrize("family", ["ladder", "dictionary", "llama"])
def test_published_forecasts_follow_from_the_numbers_they_hold(family):
    stated = load_forecasts(family)
    assert stated
    for forecast in stated:
        n_params = {p.size: p.n_params for p in forecast.predictions}
        again = predict(forecast.observed, n_params)
        for told, found in zip(forecast.predictions, again, strict=True):
            assert (found.size, found.quantity) == (told.size, told.quantity)
            assert [found.value, found.low, found.high] == pytest.approx([told.value, told.low, told.high], rel=1e-6)
        assert not {m.size for m in forecast.observed} & set(n_params)


def test_a_stated_forecast_holds_what_the_law_says(ladder):
    path = state_forecast(["ladder-800k", "ladder-1.5m"], "gptq", 4)
    forecast = Forecast.read(path)
    assert load_forecasts("ladder") == [forecast]
    assert [m.size for m in forecast.observed] == ["50k", "100k", "200k", "400k"]
    for p in forecast.predictions:
        assert p.n_params == models.get(f"ladder-{p.size}").n_params
        if p.quantity == "held-out loss":
            truth = 100 * p.n_params**-0.3
            assert p.low < truth < p.high
            assert math.isclose(p.value, truth, rel_tol=0.05)
        else:  # hardly a trend: D goes with N, losses and entropies are the same
            gap = QUANTITIES[p.quantity](ladder)
            assert (p.value, p.low, p.high) == pytest.approx((gap, gap, gap), rel=0.02)
            assert p.low < p.value < p.high


def test_only_what_was_not_run_is_forecast_and_once(ladder):
    with pytest.raises(UserError, match=r"^ladder-200k and ladder-400k cannot be forecast: the record is there"):
        state_forecast(["ladder-400k", "ladder-200k", "ladder-800k"], "gptq", 4)
    with pytest.raises(UserError, match=r"sizes of one family, not of 2: ladder-800k pythia-70m$"):
        state_forecast(["ladder-800k", "pythia-70m"], "gptq", 4)
    with pytest.raises(UserError, match="unknown model size"):
        state_forecast(["ladder-801k"], "gptq", 4)
    with pytest.raises(
        UserError, match=r"0 records of ladder at rtn, 4 bits: a forecast needs 4; `gengap run` makes one$"
    ):
        state_forecast(["ladder-800k"], "rtn", 4)
    path = state_forecast(["ladder-800k"], "gptq", 4)
    first = path.read_bytes()
    with pytest.raises(UserError, match="stays as it is"):
        state_forecast(["ladder-1.5m"], "gptq", 4)
    assert path.read_bytes() == first
    path.write_text("{}")
    with pytest.raises(UserError, match="is no valid forecast: date"):
        load_forecasts("ladder")
    assert path.parent == paths.published_results_dir() / "ladder"
