"""The record of made-up losses: small arrays, real bounds, and every number as it follows from the others."""

import numpy as np
from projects import SMALL

from gengap.bounds import grids, sampling
from gengap.bounds.terms import CodedModel
from gengap.bounds.theorems import azuma_bound, paper_bound, tight_bound
from gengap.compression.archive import prefix_free_bits
from gengap.records.base import Estimate, identify, provenance
from gengap.records.bound import BoundRecord, Bounds, BoundSettings, Evidence, Quantization, Risks

SETTINGS = BoundSettings(failure_prob=0.01, s_grid_size=1000, n_pilot_windows=20, n_windows=100, n_pairs=500, seed=0)
TRAIN_RISK = 2.9  # nats/token


def made_up_record(bits: int = 4, heldout: float = 2.9, **identity: object) -> BoundRecord:
    """Of `SMALL`, or of whatever `identity` says otherwise of its names and sizes; `heldout` is the mean loss on unseen rows."""
    model = identify(SMALL, "0" * 64).model_copy(update=identity)
    rng, delta = np.random.default_rng(0), sampling.split_failure_prob(SETTINGS.failure_prob)
    n_rows, n_drawn = model.n_train_tokens // model.seq_len, SETTINGS.n_pilot_windows + SETTINGS.n_windows
    nominal = bits * model.n_params
    lengths = {"nominal": nominal, "honest": nominal + 16 * 100, "archive": prefix_free_bits(nominal // 10)}
    sample = sampling.draw_windows(n_rows, SETTINGS.n_pilot_windows, SETTINGS.n_windows, delta.sampling, rng)
    pairs = sampling.draw_pairs(n_rows, model.seq_len, SETTINGS.n_pairs, delta.sampling, rng)
    nll = rng.gamma(2.0, 1.5, (n_drawn, model.seq_len))
    entropy = rng.uniform(3.0, 5.0, nll.shape)

    def bounds_of(length: float) -> Bounds:
        coded = CodedModel(length, model.n_train_tokens, model.vocab_size, delta.martingale)
        pilot = slice(SETTINGS.n_pilot_windows)
        grid = grids.tight_grid([coded.paper_alpha], model.vocab_size)
        complexity = coded.complexity(grid.size)
        choice = grids.choose(nll[pilot], entropy[None, pilot], grid, model.vocab_size, complexity)
        at_pairs = (values.ravel()[: SETTINGS.n_pairs] for values in (nll, entropy))
        return Bounds(
            paper=paper_bound(coded, nll, entropy, TRAIN_RISK, sample),
            paper_mode=paper_bound(coded, *at_pairs, TRAIN_RISK, pairs),
            azuma=azuma_bound(coded, nll, TRAIN_RISK, sample),
            tight=tight_bound(coded, nll, entropy, choice, TRAIN_RISK, sample),
        )

    seen = {"standard_error": 0.01, "n_tokens": nll.size}
    unseen = Estimate(mean=heldout, standard_error=0.01, n_tokens=SETTINGS.n_windows * model.seq_len)
    hashes = {
        name: str(n) * 64
        for n, name in enumerate(("checkpoint_sha256", "quantized_sha256", "windows_sha256", "heldout_sha256"), 1)
    }
    return BoundRecord(
        identity=model,
        evidence=Evidence(**hashes),
        quantization=Quantization(method="gptq", bits=bits, group_size=0, code_length_bits=lengths),
        settings=SETTINGS,
        risks=Risks(
            train=Estimate(mean=TRAIN_RISK, **seen),
            quantized=Estimate(mean=float(nll.mean(dtype=np.float64)), **seen),
            heldout=unseen,
            heldout_quantized=unseen,
        ),
        bounds={name: bounds_of(length) for name, length in lengths.items()},
        provenance=provenance("cpu", 1.0),
    )
