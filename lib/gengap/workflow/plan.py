"""Every training of the ladder, declared in one table: the frontier, and what lies beside it.

`make ladder` works through the plan, cheapest run first. A group is a question:

* grid: L(N, D), each rung at several multiples of its compute-optimal tokens, always new text; of the other families the frontier alone;
* seed: how much of a loss is chance;
* rate: is the learning rate of the registry the best one;
* shape: width against depth at a fixed number of parameters (Kaplan et al. 2020, section 3.1);
* repeat: a quarter of the text four times, and so on (Kaplan et al. 2020, section 4.3);
* precision: does bfloat16 change what a rung learns.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gengap.models import dictionary, ladder, llama
from gengap.models.ladder import LENGTHS, SEEDS, grid_run
from gengap.training.run import Run

GROUPS = ("grid", "seed", "rate", "shape", "repeat", "precision")

_RUNGS = {spec.model_size: spec for spec in ladder.MODELS}
_SMALL = ("ladder-50k", "ladder-100k", "ladder-200k")  # with which seeds and rates are varied
_SEEDS = (1, 2)  # beside 0
_RATES = (0.5, 0.71, 1.41, 2.0, 2.83, 4.0)  # factors of the registry's learning rate, beside 1
# Width, layers, heads: N as ladder-200k's (36, 3, 3) within 5 %.
_SHAPES = ((44, 1, 4), (40, 2, 4), (32, 5, 2), (24, 13, 2))
_SHAPED = "ladder-200k"
_UNIQUE = (1 / 16, 1 / 8, 1 / 4, 1 / 2)  # shares of the compute-optimal tokens that are different
_REPEATED = ("ladder-50k", "ladder-100k", "ladder-200k", "ladder-400k")
# The families beside the ladder, trained on a GPU (the largest on a processor, with the same precision): learning rates that their two smallest rungs were tried with.
_BESIDE = (*llama.MODELS, *dictionary.MODELS)
_ON_A_PROCESSOR = ("llama-800k",)
_TRIED = {
    "llama-50k": (0.0035, 0.005, 0.0071, 0.01, 0.0141, 0.02),
    "llama-100k": (0.0035, 0.005, 0.0071, 0.01, 0.0141, 0.02),
    "dictionary-50k": (0.01, 0.0141, 0.02, 0.0283, 0.04, 0.0566),
    "dictionary-100k": (0.0071, 0.01, 0.0141, 0.02, 0.0283, 0.04),
}
_ROUNDED = ("ladder-100k", "ladder-400k")  # trained in bfloat16 too


@dataclass(frozen=True)
class PlannedRun:
    group: str  # one of `GROUPS`
    name: str  # within its size
    run: Run

    @property
    def model_size(self) -> str:
        return self.run.spec.model_size

    @property
    def flops(self) -> float:
        """6 N D of the whole run; what a shorter run left behind at its fork need not be done again."""
        return 6.0 * self.run.spec.n_params * self.run.n_steps * self.run.tokens_per_step


def _declared() -> Iterator[PlannedRun]:
    for size, lengths in LENGTHS.items():
        for length in lengths:
            yield PlannedRun("grid", grid_run(length), Run(_RUNGS[size], length))
    for size in _SMALL:
        for seed in _SEEDS:
            yield PlannedRun("seed", f"seed-{seed}", Run(_RUNGS[size], seed=seed))
    for size in _SMALL:
        for factor in _RATES:
            spec = replace(_RUNGS[size], peak_lr=factor * _RUNGS[size].peak_lr)
            yield PlannedRun("rate", f"rate-{factor:g}x", Run(spec))
    for width, layers, heads in _SHAPES:
        spec = replace(_RUNGS[_SHAPED], hidden_size=width, n_layers=layers, n_heads=heads)
        yield PlannedRun("shape", f"shape-{width}x{layers}", Run(spec))
    for size in _REPEATED:
        for share in _UNIQUE:
            yield PlannedRun("repeat", f"unique-{share:g}x", Run(_RUNGS[size], unique_share=share))
    for spec in _BESIDE:
        where = {"precision": "float32"} if spec.model_size in _ON_A_PROCESSOR else {"device": "cuda"}
        yield PlannedRun("grid", grid_run(1), Run(spec, **where))
        for rate in _TRIED.get(spec.model_size, ()):
            yield PlannedRun("rate", f"rate-{rate:g}", Run(replace(spec, peak_lr=rate), device="cuda"))
        for seed in SEEDS.get(spec.model_size, ()):
            yield PlannedRun("seed", f"seed-{seed}", Run(spec, seed=seed, device="cuda"))
    for size in _ROUNDED:
        yield PlannedRun("precision", "bfloat16", Run(_RUNGS[size], precision="bfloat16"))


def plan() -> list[PlannedRun]:
    """All runs, cheapest first: of one rung, so, the shorter branch before the longer."""
    return sorted(_declared(), key=lambda planned: planned.flops)
