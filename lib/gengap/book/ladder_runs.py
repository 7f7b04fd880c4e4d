"""The trainings of the ladder as the pages on laws of scale read them: one table, the grid in it, the noise of a run."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from scipy.stats import norm

from gengap.laws.fits import FLOPS_PER_PARAM_TOKEN, ChinchillaLaw, Floats, fit_chinchilla
from gengap.laws.frontier import Curve
from gengap.records.training_run import TrainingRun, load_runs

SCALE = LinearSegmentedColormap.from_list("scale", ["C0", "C3", "C1"])  # of sizes; legible on white and on black


class LadderRuns(NamedTuple):
    """All trainings, and those of the grid: every size, at several lengths."""

    records: list[TrainingRun]  # by N and D
    table: pd.DataFrame  # a row for each record
    sizes: list[str]  # of the grid, by N
    colors: dict[str, tuple[float, ...]]  # of each size

    @property
    def grid(self) -> pd.DataFrame:
        return self.table[self.table["group"] == "grid"].reset_index(drop=True)

    @property
    def own(self) -> pd.DataFrame:
        """The runs of the grid on the frontier D = 20 N, which are the rungs' own, from the first seed."""
        return self.table[(self.table["group"] == "grid") & (self.table["length"] == 1)]

    @property
    def n_params(self) -> pd.Series:
        """N of each size."""
        return self.grid.groupby("size")["N"].first()[self.sizes]

    def law_columns(self) -> tuple[Floats, Floats, Floats]:
        """N, D and held-out loss of the grid's runs, (n_runs,) each."""
        n, d, loss = (self.grid[name].to_numpy(float) for name in ("N", "D", "loss"))
        return n, d, loss

    def law(self) -> ChinchillaLaw:
        """L(N, D) fitted to the grid."""
        return fit_chinchilla(*self.law_columns())

    def curves(self) -> list[Curve]:
        """Loss against tokens, for each size of the grid that was trained at several lengths."""
        sizes = (mine for _, mine in self.grid.groupby("size", sort=False) if len(mine) > 1)
        return [Curve(mine["N"].iloc[0], mine["D"].to_numpy(float), mine["loss"].to_numpy(float)) for mine in sizes]

    def longest(self, size: str) -> TrainingRun:
        """The longest training of the grid."""
        mine = (run for run in self.records if (run.group, run.size) == ("grid", size))
        return max(mine, key=lambda run: run.length)

    def seed_error(self) -> float:
        """Standard deviation of log loss from seed to seed, pooled over the sizes that were trained from several."""
        of_seeds = pd.concat([self.own, self.table[self.table["group"] == "seed"]])
        spreads = [np.log(mine["loss"]).var(ddof=1) for _, mine in of_seeds.groupby("size") if len(mine) > 1]
        return math.sqrt(np.mean(spreads)) if spreads else math.nan

    def doubt(self, level: float) -> float:
        """Half-width of the interval of the difference of two log losses, from the scatter of seeds alone."""
        return float(norm.ppf((1 + level) / 2) * math.sqrt(2) * self.seed_error())


def ladder_runs(records: Sequence[TrainingRun] | None = None) -> LadderRuns:
    """The trainings of the ladder, published or of this machine, or these; ValueError if the grid has too few."""
    records = list(load_runs() if records is None else records)
    table = pd.DataFrame(
        {
            "group": run.group,
            "size": run.size,
            "length": run.length,
            "N": run.shape.n_params,
            "n": run.shape.n_nonembedding,
            "D": run.n_train_tokens,
            "U": run.n_unique_tokens,
            "F": FLOPS_PER_PARAM_TOKEN * run.shape.n_params * run.n_train_tokens,
            "loss": run.heldout.mean,
            "stopped": run.early_stopped,
            "transfer": run.transfer.mean if run.transfer else math.nan,
            "rate": run.schedule.peak_lr,
            "width": run.shape.hidden_size,
            "layers": run.shape.n_layers,
            "name": run.name,
        }
        for run in records
    )
    grid = table[table["group"] == "grid"] if len(table) else table
    sizes = list(dict.fromkeys(grid["size"])) if len(grid) else []
    if len(sizes) < 3 or len(grid) < 8:
        raise ValueError("a law of scale needs eight runs of three sizes: `make ladder` trains the grid")
    colors = dict(zip(sizes, SCALE(np.linspace(0, 1, len(sizes))), strict=True))
    return LadderRuns(records, table, sizes, colors)
