"""What figures and tables of several pages share: numbers in plain words, axes, the names and colours of terms."""

from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

TERMS = {  # of the bounds, in stacking order: name, label, colour
    "train_risk": ("training loss", "0.55"),
    "parameters": ("parameters", "C0"),
    "loss_variation": ("loss variation", "C1"),
    "deviation": ("parameters and variation", "C4"),
    "smoothing": ("smoothing", "C2"),
    "quantization_gap": ("quantization gap", "C3"),
    "sampling": ("sampling", "C5"),
}


def plain(value: float, _position: object = None) -> str:
    """12,000 as 12k, 3,400,000 as 3.4m: also the formatter of an axis, hence the second argument."""
    for unit, name in ((1e9, "b"), (1e6, "m"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def plain_axis(axis: Axis, ticks: list[float]) -> None:
    """Ticks at these values, in plain words."""
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(plain))
