"""What a certificate is asked for, and the defaults: for the page, the commands, the graph and the library alike."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from gengap.errors import MAX_SEED, UserError, check_whole

if TYPE_CHECKING:
    from gengap.records.bound import BoundRecord


ALL_UP_TO = 9_000  # training windows: so few are all read, and then nothing is left to chance
SOME_OF_MORE = 3_000


@dataclass(frozen=True)
class Settings:
    """How a model is certified. `UserError` for what cannot be, before any work."""

    failure_prob: Annotated[float, "delta, of everything a bound states together"] = 0.01
    n_pilot_windows: Annotated[int, "training windows drawn to choose the constants of the bound"] = 200
    n_windows: Annotated[
        int, "training windows drawn to certify it; 0: 3,000, or all where there are fewer than 9,000"
    ] = 0
    n_pairs: Annotated[int, "(window, position) pairs of the paper's own estimate"] = 10_000
    seed: Annotated[int, "of the samples"] = 0

    @classmethod
    def of(cls, record: "BoundRecord") -> "Settings":
        """Those that a record was made with."""
        return cls(**record.settings.model_dump(exclude={"s_grid_size"}))

    def __post_init__(self):
        if not (isinstance(self.failure_prob, int | float) and 0 < self.failure_prob < 1):
            raise UserError(
                f"a failure probability of {self.failure_prob}: choose a number between 0 and 1, such as 0.01"
            )
        for name, least in (("n_pilot_windows", 1), ("n_windows", 2), ("n_pairs", 1), ("seed", 0)):
            if name != "n_windows" or self.n_windows != 0:
                check_whole(name, getattr(self, name), least, MAX_SEED)

    def on(self, n_rows: int) -> "Settings":
        """The same with a number of windows, where none was asked for, out of `n_rows` training rows."""
        if self.n_windows:
            return self
        left = n_rows - self.n_pilot_windows
        return replace(self, n_windows=left if left >= 2 and n_rows < ALL_UP_TO else SOME_OF_MORE)

    def check_rows(self, n_rows: int) -> None:
        """`UserError` unless so many windows can be drawn from `n_rows` training rows."""
        n_windows = self.on(n_rows).n_windows
        if self.n_pilot_windows + n_windows > n_rows:
            raise UserError(
                f"{self.n_pilot_windows} + {n_windows} windows cannot be drawn from {n_rows} training rows: ask for fewer"
            )
