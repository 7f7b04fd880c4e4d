"""Two drawings of every figure, one of them for a phone; and the ink of a drawing, which follows the page's theme.

A wide drawing that a phone halves has words too small to read. So the runs of notebooks load this module as an extension of IPython:
a figure that is shown leaves its drawing, and a second one as wide as a phone, with its panels below each other. Staging takes both.
"""

import itertools
import re
import textwrap
from collections.abc import Iterable

from IPython.core.formatters import BaseFormatter
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.pylabtools import print_figure
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.transforms import Bbox, ScaledTranslation
from traitlets import Unicode

SVG, NARROW = "image/svg+xml", "application/vnd.gengap.narrow+svg"
WIDTH, MIN_SIZE = 4, 9.5  # inches, points: a phone shows it at nine tenths, and its words at 11 pixels or more
#: Colours of words on white and on the dark page where the drawn one falls below 4.5:1: the ink, and the cycle of gengap.book.
INKS = {
    "737b85": ("57606a", "a4acb7"),
    "2c5fdd": ("2c5fdd", "7aa2ff"),
    "e66e20": ("b04c08", "e66e20"),
    "2ca58d": ("117a65", "2ca58d"),
    "b02a7a": ("b02a7a", "e573b5"),
    "b775fe": ("8f43e6", "b775fe"),
    "8d6300": ("8d6300", "c08a12"),
    "8c8c8c": ("6b6b6b", "8c8c8c"),
}


class _Narrow(BaseFormatter):
    """What a phone shows of a figure. It stays narrow: it has been drawn as it was, and is closed once it has been shown."""

    format_type = Unicode(NARROW)

    def __call__(self, shown: object) -> str | None:
        if not isinstance(shown, Figure):
            return None
        make_narrow(shown)
        return print_figure(shown, "svg")


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Figures are shown in two drawings."""
    shell.display_formatter.formatters[NARROW] = _Narrow(parent=shell.display_formatter)  # the last in line


def in_both_themes(svg: str) -> str:
    """The drawing with words of at least 4.5:1 on a white and on a dark page, as the page that shows it has it; places to 0.01 points."""
    rules = [
        "".join(f'[id^="text_"] [style*="#{drawn}"]{{fill:#{inks[k]}!important}}' for drawn, inks in INKS.items())
        for k in (0, 1)
    ]
    style = f"<style>{rules[0]}@media (prefers-color-scheme:dark){{{rules[1]}}}</style>"
    rounded = re.sub(
        r' (?:d|x|y)="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), svg
    )  # a third of the bytes
    return re.sub(r"(<svg\b[^>]*>)", lambda match: match[1] + style, rounded, count=1)


def make_narrow(fig: Figure) -> None:
    """Make a figure as wide as a phone: panels below each other (in two columns if they are many), legends below, no ticks that touch."""
    panels = [ax for ax in fig.axes if ax.get_subplotspec()]
    for text in fig.findobj(Text):
        text.set_size(max(text.get_size(), MIN_SIZE))
    rows = _stack(fig, panels)
    height = fig.get_figheight() if rows is None else 2.5 * rows
    fig.set_size_inches(WIDTH, max(height, 0.8 * WIDTH))
    below = [_legend_below(fig, legend) for legend in fig.legends.copy()]
    fig.set_figheight(fig.get_figheight() + sum(below))
    fig.draw_without_rendering()
    for ax in panels:
        _turn(ax.xaxis)
        _thin(ax.texts)
        if ax.get_legend():
            _axes_legend_below(ax)


def _stack(fig: Figure, panels: list[Axes]) -> int | None:
    """Put panels that stand side by side below each other; the number of rows, or None if none did."""
    specs = [ax.get_subplotspec() for ax in panels]
    if max((spec.colspan.stop for spec in specs), default=1) == 1:
        return None
    columns = 1 if len(panels) <= 3 else 2
    rows = -(-len(panels) // columns)
    grid = fig.add_gridspec(rows, columns)
    first = {spec.rowspan.start: ax for ax, spec in reversed(list(zip(panels, specs, strict=True)))}  # of its row
    last = {spec.colspan.start: ax for ax, spec in zip(panels, specs, strict=True)}  # of its column
    for k, (ax, spec) in enumerate(zip(panels, specs, strict=True)):
        leftmost, lowest = k % columns == 0, k + columns >= len(panels)
        said_once = spec.get_gridspec().nrows == 1 or len(ax.get_shared_y_axes().get_siblings(ax)) > 1
        if leftmost and said_once and not ax.get_ylabel():
            ax.set_ylabel(first[spec.rowspan.start].get_ylabel())
        if lowest and not ax.get_xlabel():
            ax.set_xlabel(last[spec.colspan.start].get_xlabel())
        if len(ax.get_shared_y_axes().get_siblings(ax)) > 1:
            ax.tick_params(labelleft=leftmost)
            ax.yaxis.label.set_visible(leftmost)
        if len(ax.get_shared_x_axes().get_siblings(ax)) > 1:
            ax.tick_params(labelbottom=lowest)
            ax.xaxis.label.set_visible(lowest)
        ax.set_title(textwrap.fill(ax.get_title(loc="left"), 40 if columns == 1 else 15), loc="left")
        ax.set_subplotspec(grid[k])
    leftmost = panels[::columns]
    if len({ax.get_ylabel() for ax in leftmost}) == 1:  # said once, beside all rows
        fig.supylabel(leftmost[0].get_ylabel(), fontsize=leftmost[0].yaxis.label.get_size())
        for ax in leftmost:
            ax.set_ylabel("")
    return rows


def _entries(legend: Legend) -> dict[str, object]:
    texts = [text.get_text() for text in legend.get_texts()]
    return {"handles": legend.legend_handles, "labels": texts, "title": legend.get_title().get_text() or None}


def _legend_below(fig: Figure, legend: Legend) -> float:
    """Draw a legend of the figure in as many columns as there is room for; how much higher it is now, in inches."""
    entries, before = _entries(legend), legend.get_window_extent().height
    legend.remove()
    for columns in range(min(4, len(entries["labels"])), 0, -1):
        legend = fig.legend(**entries, loc="outside lower center", ncols=columns)
        if legend.get_window_extent().width <= fig.bbox.width or columns == 1:
            return max(0, legend.get_window_extent().height - before) / fig.dpi
        legend.remove()
    return 0


def _axes_legend_below(ax: Axes) -> None:
    """A legend inside a panel, or beside it, goes below it."""
    fig, entries = ax.get_figure(), _entries(ax.get_legend())
    down = (ax.bbox.y0 - ax.xaxis.get_tightbbox().y0) / fig.dpi
    place = ax.transAxes + ScaledTranslation(0, -down, fig.dpi_scale_trans)
    for columns in range(min(4, len(entries["labels"])), 0, -1):
        legend = ax.legend(**entries, loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=place, ncols=columns)
        if legend.get_window_extent().width <= ax.bbox.width:
            break
    fig.set_figheight(fig.get_figheight() + legend.get_window_extent().height / fig.dpi)


def _thin(names: Iterable[Text]) -> None:
    """Of names that lie on each other only the first is drawn."""
    drawn: list[Bbox] = []
    for name in names:
        box = name.get_window_extent()
        name.set_visible(not any(box.overlaps(other) for other in drawn))
        drawn += [box] * name.get_visible()


def _turn(axis: Axis) -> None:
    """Turn names of ticks that would touch."""
    boxes = sorted((t.get_window_extent() for t in axis.get_ticklabels() if t.get_text()), key=lambda box: box.x0)
    if any(left.x1 + 2 > right.x0 for left, right in itertools.pairwise(boxes)):
        axis.set_tick_params(rotation=45)
        for text in axis.get_ticklabels():
            text.set(ha="right", rotation_mode="anchor")
