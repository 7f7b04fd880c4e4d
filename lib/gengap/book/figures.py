"""What figures and tables of several pages share: numbers in plain words, axes, the names and colours of terms."""

from collections.abc import Mapping, Sequence, Sized
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

if TYPE_CHECKING:
    from gengap.laws.intervals import Ensemble

# One term has one colour in every figure. Lines: the paper's bound C1, ours C2, Azuma's C3, with a companion C4, guessing C5 and
# dashed, the training loss C6, as in bars.
TERMS = {  # of the bounds, in stacking order: name, label, colour
    "train_risk": ("training loss", "0.55"),
    "parameters": ("parameters", "C0"),
    "loss_variation": ("loss variation", "C1"),
    "deviation": ("parameters and variation", "C4"),
    "smoothing": ("smoothing", "C2"),
    "quantization_gap": ("quantization gap", "C3"),
    "sampling": ("sampling", "C5"),
}
# Marker and line of a family where figures compare sizes: they tell it apart without colours.
FAMILIES = {"ladder": "o-", "llama": "s--", "dictionary": "D:"}


def plain(value: float, _position: object = None) -> str:
    """12,000 as 12k, 3,400,000 as 3.4m: also the formatter of an axis, hence the second argument."""
    for unit, name in ((1e9, "b"), (1e6, "m"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def plain_axis(axis: Axis, ticks: Sequence[float]) -> None:
    """Ticks at these values alone, in plain words."""
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(plain))


def named_axis(axis: Axis, ticks: Sequence[float], names: Sequence[str], **text: object) -> None:
    """Ticks at these values alone, under these names; `text` says how they are set (rotation=45)."""
    axis.set_ticks(ticks, labels=names, **text)
    axis.set_minor_locator(NullLocator())


def size_axis(ax: Axes, sizes: Mapping[str, int]) -> None:
    """Parameters on a logarithmic axis, under the names of those sizes (name: N, ascending) that have room."""
    named: dict[str, int] = {}
    for name, n_params in sizes.items():
        if not named or n_params > 1.9 * max(named.values()):
            named[name] = n_params
    ax.set(xscale="log", xlabel="parameters")
    named_axis(ax.xaxis, list(named.values()), list(named))


def family_panels(shown: Mapping[str, Sized], height: float) -> tuple[Figure, Sequence[Axes]]:
    """A figure with a panel for each family, {name: its models}, wider for many models; and the panels."""
    widths = [2 + len(found) for found in shown.values()]
    fig, axes = plt.subplots(1, len(shown), sharey=True, figsize=(7.5, height), width_ratios=widths, squeeze=False)
    for ax, name in zip(axes[0], shown, strict=True):
        ax.set(title=name)
    return fig, axes[0]


def stacked_bars(
    ax: Axes,
    parts: pd.DataFrame,
    styles: Mapping[str, tuple[str, str]] = TERMS,
    *,
    horizontal: bool = False,
    sums: bool = False,
) -> None:
    """A bar for each row of `parts`, (n_bars, n_parts): its parts end to end in the order of `styles`, column: label, colour.

    With `sums` each bar has the sum of its parts at its end. ValueError for a part that has no style: none is left out.
    """
    draw, set_ticks = (ax.barh, ax.set_yticks) if horizontal else (ax.bar, ax.set_xticks)
    places, ends = range(len(parts)), np.zeros(len(parts))
    for name in sorted(parts, key=list(styles).index):
        label, color = styles[name]
        drawn = draw(places, parts[name], 0.7, ends, color=color, label=label)
        ends = ends + parts[name].to_numpy()
    if sums:
        ax.bar_label(drawn, [f"{end:.2f}" for end in ends])
    set_ticks(places, parts.index)


def draw_fit(ax: Axes, fit: "Ensemble", x: np.ndarray, color: str = "C0") -> None:
    """A fitted law at some places, (n,), in the band of its 95 % intervals."""
    band = np.array([fit.interval(lambda law, at=at: float(law(at))) for at in x])  # (n, 2)
    ax.fill_between(x, *band.T, alpha=0.2, color=color)
    ax.plot(x, fit.law(x), color=color, linewidth=1.2)
