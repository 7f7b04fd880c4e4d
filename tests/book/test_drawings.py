"""The two drawings of a figure, and the ink of both."""

import re
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.colors import to_rgb

from gengap.book import drawings, pages

WHITE, DARK = "#ffffff", "#121212"
LONG = "a name of some length"


def contrast(one: str, other: str) -> float:
    """Of two colours, as WCAG 2 defines it."""

    def luminance(color):
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(color)]
        return sum(v * weight for v, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))

    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.fixture
def figure():
    """A figure of so many panels, {kind of the call: arguments}, in the book's style."""
    with plt.style.context("gengap.book"):
        yield plt.subplots
    plt.close("all")


def panels(fig):
    """Left and lower edges of the panels."""
    fig.draw_without_rendering()
    return [ax.get_position().bounds[:2] for ax in fig.axes]


def test_panels_side_by_side_stand_below_each_other_on_a_phone(figure):
    fig, axes = figure(1, 3, sharey=True, figsize=(7.5, 3.2))
    axes[0].set_ylabel("nats")
    assert [ax.yaxis.get_tick_params()["labelleft"] for ax in axes] == [True, False, False]
    drawings.make_narrow(fig)
    lefts, lows = zip(*panels(fig), strict=True)
    assert fig.get_figwidth() == drawings.WIDTH
    assert max(lefts) - min(lefts) < 1e-6
    assert lows[0] > lows[1] > lows[2]
    assert [ax.yaxis.get_tick_params()["labelleft"] for ax in axes] == [True, True, True]
    assert fig.get_supylabel() == "nats"


def test_many_panels_stand_in_two_columns(figure):
    fig, axes = figure(2, 3, figsize=(6.4, 4.6), sharex=True)
    axes[0, 0].set_ylabel("nats")
    axes[1, 0].set_ylabel("bits")
    for ax in axes[1]:
        ax.set_xlabel("parameters")
    drawings.make_narrow(fig)
    assert len({round(left, 1) for left, _ in panels(fig)}) == 2
    assert [ax.get_ylabel() for ax in fig.axes] == ["nats", "", "", "bits", "", ""]
    assert [ax.get_xlabel() for ax in fig.axes if ax.xaxis.label.get_visible()] == ["parameters"] * 2


def test_names_that_lie_on_each_other_are_left_out(figure):
    fig, ax = figure()
    for y in (0.5, 0.51, 0.9):
        ax.text(0, y, LONG)
    drawings.make_narrow(fig)
    assert [text.get_visible() for text in ax.texts] == [True, False, True]


def test_a_figure_of_one_column_keeps_its_panels_and_its_height(figure):
    fig, _ = figure(2, 1, figsize=(6.4, 6))
    drawings.make_narrow(fig)
    assert tuple(fig.get_size_inches()) == (drawings.WIDTH, 6)


@pytest.mark.parametrize("of", ["figure", "axes"])
def test_a_legend_goes_below_in_the_columns_that_fit(figure, of):
    fig, ax = figure()
    for k in range(6):
        ax.plot([0, k], label=f"{LONG} {k}")
    place = {"loc": "outside lower center", "ncols": 6} if of == "figure" else {"loc": "upper right"}
    (fig if of == "figure" else ax).legend(**place)
    drawings.make_narrow(fig)
    fig.draw_without_rendering()
    legend = fig.legends[0] if of == "figure" else ax.get_legend()
    box, data = legend.get_window_extent(), ax.bbox
    assert [text.get_text() for text in legend.get_texts()] == [f"{LONG} {k}" for k in range(6)]
    assert box.y1 <= ax.xaxis.get_tightbbox().y0 + 1
    assert box.x0 >= 0
    assert box.x1 <= fig.bbox.x1
    assert data.height > 1.5 * fig.dpi  # what the legend takes is not taken from the panel


@pytest.mark.parametrize(("n_names", "turned"), [(2, 0), (9, 45)])
def test_names_of_ticks_that_would_touch_are_turned(figure, n_names, turned):
    fig, ax = figure()
    ax.set_xticks(range(n_names), ["ladder"] * n_names)
    drawings.make_narrow(fig)
    fig.draw_without_rendering()
    assert {text.get_rotation() for text in ax.get_xticklabels()} == {turned}


def test_a_shown_figure_leaves_both_drawings_and_other_things_one(figure):
    shell = InteractiveShell()
    drawings.load_ipython_extension(shell)
    fig, _ = figure(1, 2)
    shown = shell.display_formatter.format(fig)[0]
    width = float(re.search(r'width="([\d.]+)pt"', shown[drawings.NARROW])[1])
    assert width <= 72 * drawings.WIDTH + 10
    assert drawings.NARROW not in shell.display_formatter.format("word")[0]


def test_staging_takes_both_drawings_and_leaves_the_page_the_wide_one():
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><text>{}</text></svg>'
    data = {drawings.SVG: svg.format("wide"), drawings.NARROW: svg.format("narrow")}
    cell = nbformat.v4.new_code_cell("", outputs=[nbformat.v4.new_output("display_data", data=data)])
    cell.metadata["mystnb"] = {"figure": {"name": "fig-a"}}
    files = pages.take_drawings(nbformat.v4.new_notebook(cells=[cell]))
    assert list(files) == ["fig-a.svg", "fig-a.narrow.svg"]
    assert [re.search("wide|narrow", text.decode())[0] for text in files.values()] == ["wide", "narrow"]
    assert list(cell.outputs[0].data) == [drawings.SVG]


def test_ink_is_legible_on_both_pages_and_lines_on_the_one_that_was_drawn(figure):
    for inks in drawings.INKS.values():
        for ink, ground in zip(inks, (WHITE, DARK), strict=True):
            assert contrast(f"#{ink}", ground) >= 4.5, ink
    assert set(plt.rcParams["axes.prop_cycle"].by_key()["color"]) | {plt.rcParams["text.color"]} <= {
        f"#{name}" for name in drawings.INKS
    } | set(drawings.INKS)
    for name in drawings.INKS:
        assert min(contrast(f"#{name}", ground) for ground in (WHITE, DARK)) >= 3, name
    svg = drawings.in_both_themes('<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><g/></svg>')
    style = ElementTree.fromstring(svg)[0].text
    assert "prefers-color-scheme:dark" in style
    assert all(f"#{name}" in style for name in drawings.INKS)


def test_places_are_rounded_and_scales_are_not():
    svg = '<svg><path d="M 1.234567 2.5 L 3.999999 4"/><use x="1.23456" transform="scale(0.015625)"/></svg>'
    rounded = re.sub("<style>.*</style>", "", drawings.in_both_themes(svg))
    assert rounded == '<svg><path d="M 1.23 2.5 L 3.99 4"/><use x="1.23" transform="scale(0.015625)"/></svg>'
