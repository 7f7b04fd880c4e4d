"""Published numbers, inputs and golden values that other people computed; each entry of published.json and released.csv names its source."""

import csv
import json
import math
from dataclasses import dataclass
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class PublishedBound:
    """One column of the paper's comparison table (Pythia on the Pile, 4 bits); losses, bounds and gaps in nats per token."""

    size: str  # "70m"
    n_params: int  # N, embeddings included
    n_train_tokens: int  # D of the compute-optimal checkpoint
    train_loss: float  # loss of the unquantized model on training data
    bound: float  # the paper's bound (Thm 3.4)
    azuma_bound: float  # the bound of Lotfi et al. 2024b on the same model

    @property
    def gap(self) -> float:
        return self.bound - self.train_loss

    @property
    def azuma_gap(self) -> float:
        return self.azuma_bound - self.train_loss


@dataclass(frozen=True)
class ReleasedModel:
    """One row of released.csv: a model as its makers describe it."""

    name: str  # "Llama 3 8B"
    n_params: int  # N, embeddings included; counted from the released configuration, where there is one
    n_train_tokens: int  # D, tokens read, each reading counted
    vocab_size: int  # V, the width of the output
    passes: float | None  # over the text, if its makers say: above 1 tokens were read again; None: they do not say
    source: str

    @property
    def n_first_read(self) -> int:
        """Tokens read for the first time: all of them, unless the makers say otherwise."""
        return round(self.n_train_tokens / (self.passes or 1))


def released_models() -> list[ReleasedModel]:
    """Released models from 20 tokens a parameter and less to tens of thousands, in the order of release."""
    with files("gengap").joinpath("released.csv").open(encoding="utf-8", newline="") as file:
        return [
            ReleasedModel(
                row["model"],
                *(int(row[name]) for name in ("n_params", "n_train_tokens", "vocab_size")),
                float(row["passes"]) if row["passes"] else None,
                row["source"],
            )
            for row in csv.DictReader(file)
        ]


def facts(section: str) -> dict[str, Any]:
    """One section of published.json, with its "source"; KeyError naming the sections if there is none such."""
    everything = json.loads(files("gengap").joinpath("published.json").read_text(encoding="utf-8"))
    if section not in everything:
        raise KeyError(f"published.json has no section {section!r}; it has {', '.join(everything)}")
    return everything[section]


def pythia_n_params() -> dict[str, int]:
    """Parameters of each Pythia size, embeddings included: {"14m": 14067712, ...}."""
    return facts("pythia")["n_params"]


def compute_optimal_tokens(n_params: int, tokens_per_param: float = 20.0) -> int:
    """Tokens D seen by the first released Pythia checkpoint at or past `tokens_per_param` * N.

    Checkpoints come every 1000 steps of 2,097,152 tokens, so the step is rounded up to a multiple of 1000.
    """
    pythia = facts("pythia")
    per_checkpoint = pythia["checkpoint_every_steps"] * pythia["tokens_per_step"]
    return math.ceil(tokens_per_param * n_params / per_checkpoint) * per_checkpoint


def fitted_loss_variation(n_params: float) -> float:
    """The paper's fit of the loss variation on Pythia, nats: Sigma = 0.27 + 8337 N^-0.54."""
    fit = facts("loss_variation_fit")
    return fit["offset"] + fit["coefficient"] * n_params ** fit["exponent"]


def bound_table() -> list[PublishedBound]:
    """The paper's table of bounds, smallest model first."""
    table, sizes = facts("bound_table"), pythia_n_params()
    columns = zip(table["size"], table["train_loss"], table["bound"], table["azuma_bound"], strict=True)
    return [PublishedBound(s, sizes[s], compute_optimal_tokens(sizes[s]), *values) for s, *values in columns]
