"""What pages share: glued numbers, axes, bars of terms, bands of fits."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from gengap.book import figures, glue
from gengap.bounds.terms import AzumaBound, PaperBound, TightBound
from gengap.laws import fit_power_law, resample_noise


@pytest.fixture
def ax():
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


@pytest.fixture
def glued(monkeypatch):
    """What was glued under which name; nothing may be displayed, and no name taken twice."""
    found = {}

    def record(name, value, display):
        assert not display
        assert name not in found
        found[name] = value

    monkeypatch.setattr(glue, "glue", record)
    return found


def test_numbers_are_glued_under_their_names_with_ranges_and_intervals(glued):
    glue.glue_all(n=3, word="none")
    glue.glue_range("a", pd.Series([3.0, 1.0, 2.0]))
    glue.glue_interval("b", 0.5, *(0.25, 0.75))
    assert glued == {"n": 3, "word": "none", "a_least": 1, "a_most": 3, "b": 0.5, "b_low": 0.25, "b_high": 0.75}


def labels_of(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


def test_axes_have_the_ticks_asked_for_and_no_others(ax):
    ax.set(xscale="log", yscale="log", xlim=(1, 1e7), ylim=(1, 100))
    figures.plain_axis(ax.xaxis, [1e3, 2.5e6])
    figures.named_axis(ax.yaxis, [3, 30], ["few", "many"])
    assert labels_of(ax.xaxis) == ["1k", "2.5m"]
    assert labels_of(ax.yaxis) == ["few", "many"]
    assert not [*ax.xaxis.get_minorticklocs(), *ax.yaxis.get_minorticklocs()]


@pytest.mark.parametrize("horizontal", [False, True])
def test_terms_are_stacked_in_their_order_under_their_names(ax, horizontal):
    parts = pd.DataFrame({"sampling": [0.5, 0.25], "train_risk": [3.0, 2.0]}, index=["one", "other"])
    figures.stacked_bars(ax, parts, horizontal=horizontal, sums=True)
    first, last = ax.containers
    label, color = figures.TERMS["train_risk"]
    assert (first.get_label(), first[0].get_facecolor()) == (label, to_rgba(color))
    corners = [(b.get_x(), b.get_x() + b.get_width(), b.get_y(), b.get_y() + b.get_height()) for b in last]
    starts_and_ends = [corner[:2] if horizontal else corner[2:] for corner in corners]
    assert starts_and_ends == [(3.0, 3.5), (2.0, 2.25)]
    assert labels_of(ax.yaxis if horizontal else ax.xaxis) == ["one", "other"]
    assert [text.get_text() for text in ax.texts] == ["3.50", "2.25"]


def test_every_term_of_every_bound_has_a_place_in_the_stack(ax):
    order = list(figures.TERMS)
    for bound in (PaperBound, AzumaBound, TightBound):
        assert [term for term in order if term in bound.TERMS] == list(bound.TERMS)
    with pytest.raises(ValueError, match="luck"):
        figures.stacked_bars(ax, pd.DataFrame({"luck": [1.0]}))


def test_a_fit_is_drawn_inside_its_band(ax):
    x = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    fit = resample_noise(fit_power_law, x, x**-0.5 * [1.1, 0.9, 1.0, 1.1, 0.9])
    figures.draw_fit(ax, fit, x)
    (line,), (band,) = ax.lines, ax.collections
    np.testing.assert_array_equal(line.get_ydata(), fit.law(x))
    low, high = band.get_paths()[0].get_extents().intervaly
    assert low == fit.interval(lambda law: law(x[-1])).low
    assert high == fit.interval(lambda law: law(x[0])).high


def test_families_differ_in_marker_and_in_line():
    markers, lines = zip(*((style[0], style[1:]) for style in figures.FAMILIES.values()), strict=True)
    assert len(set(markers)) == len(set(lines)) == len(figures.FAMILIES) >= 3


def test_sizes_without_room_have_no_name(ax):
    figures.size_axis(ax, {"50k": 50_000, "90k": 90_000, "100k": 100_000, "150k": 150_000, "1m": 1_000_000})
    assert labels_of(ax.xaxis) == ["50k", "100k", "1m"]
    assert ax.get_xscale() == "log"


def test_each_family_has_a_panel_of_its_own_on_one_scale():
    _, axes = figures.family_panels({"long": range(8), "short": range(3)}, 3.0)
    try:
        axes[0].set_ylim(0, 7)
        assert [ax.get_title(loc="left") or ax.get_title() for ax in axes] == ["long", "short"]
        assert axes[1].get_ylim() == (0, 7)
        long, short = (ax.get_position().width for ax in axes)
        assert long > short
        assert figures.family_panels({"only": [1]}, 3.0)[1].shape == (1,)
    finally:
        plt.close("all")
