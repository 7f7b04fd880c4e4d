"""What quantization does to one model, for every method and number of bits: the record behind chapter 16.

A survey holds estimates on a sample of training windows, without the error of that sample: it compares codes. Certified values
of single codes are bound records (`gengap.records.bound`).
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gengap.compression.methods import METHODS
from gengap.models.spec import ModelSpec
from gengap.records.base import Accounting, Identity, Name, Part, Provenance, Stored

if TYPE_CHECKING:
    from gengap.compression.curvature import SpectralEstimate

QUADRATURES = ("nodes", "weights", "half_nodes", "half_weights")  # of a spectrum


class SurveySettings(Part):
    """What was asked for."""

    bits: tuple[int, ...] = METHODS["gptq"].survey_bits  # of methods with so many bits a weight
    entropy_bits: tuple[int, ...] = METHODS["entropy"].survey_bits  # of files of method "entropy"
    qat_bits: tuple[int, ...] = METHODS["qat"].survey_bits  # of files of method "qat"
    group_size: int = 128  # weights that share a scale
    n_calibration_rows: int = 128  # training windows that a method looks at
    n_windows: int = 200  # other training windows, on which losses are measured
    n_bound_windows: int = 48  # the first of these, on which bounds are
    n_seeds: int = 3  # draws of the windows that a method looks at
    n_curvature_windows: int = 16  # training windows whose mean loss is differentiated twice
    n_probes: int = 4  # random vectors of the spectral estimate
    n_lanczos_steps: int = 32  # products with the curvature matrix for each of them
    seed: int = 0


class Cell(Part):
    """One method at one number of bits; losses and gaps in nats/token."""

    method: Name
    bits: int  # b of a weight; of "entropy" and "qat": of the file, a parameter
    gaps: tuple[float, ...]  # (n_seeds,) Rhat_q - Rhat_h
    window_error: float  # standard error of the first of them over windows, paired
    code_length_bits: dict[Accounting, float]  # L(h)
    codes_entropy_bits: float  # empirical entropy of the codes, matrix by matrix
    side_bits: int  # scales, norms and biases at 16 bits
    squared_step: float  # mean over weights of the squared distance of neighbouring values
    sigma: float  # loss variation of the paper's bound
    paper_gap: float  # paper's bound less Rhat_h, nominal code length
    tight_gaps: dict[Accounting, float]  # our bound less Rhat_h
    tight_deviation: float  # terms of our bound with the archive's length: parameters and variation,
    tight_smoothing: float  # and smoothing; the rest is the quantization gap
    seconds: float

    @property
    def gap(self) -> float:
        """Quantization gap, mean over seeds."""
        return float(np.mean(self.gaps))

    @property
    def seed_error(self) -> float:
        """Standard error of `gap` over seeds; 0 for a method that looks at no data."""
        n = len(self.gaps)
        return float(np.std(self.gaps, ddof=1) / np.sqrt(n)) if n > 1 else 0.0


class Spectrum(Part):
    """Lanczos quadratures of the Gauss-Newton matrix."""

    nodes: list[list[float]]  # (n_probes, n_steps)
    weights: list[list[float]]
    half_nodes: list[list[float]]  # after half the steps
    half_weights: list[list[float]]
    n_products: int  # with the matrix
    seconds: float

    @classmethod
    def of(cls, estimate: "SpectralEstimate", seconds: float) -> "Spectrum":
        arrays = {name: getattr(estimate, name).tolist() for name in QUADRATURES}
        return cls(**arrays, n_products=estimate.n_products, seconds=seconds)


class QuantizationSurvey(Stored):
    """All of it, for one checkpoint."""

    KIND = "survey"
    REMEDY = "delete it and run `gengap survey` again"
    PATTERN = "*/*/*-quantization.json"
    CHECKED_BY = ("gengap.records.others:of_survey",)

    identity: Identity
    settings: SurveySettings
    train_risk: float  # Rhat_h on the windows of the survey, nats/token
    cells: tuple[Cell, ...]
    spectrum: Spectrum
    provenance: Provenance

    @property
    def place(self) -> Path:
        return place_of(self.identity)

    def cell(self, method: str, bits: int) -> Cell:
        """The one asked for; KeyError if it was not surveyed."""
        if found := [cell for cell in self.cells if (cell.method, cell.bits) == (method, bits)]:
            return found[0]
        raise KeyError(f"{self.identity.model_size}: {method} at {bits} bits was not surveyed")

    def best(self) -> Cell:
        """With the least tight bound at the length of its file."""
        return min(self.cells, key=lambda cell: cell.tight_gaps["archive"])

    @property
    def spectral_estimate(self) -> "SpectralEstimate":
        """With its traces and their errors."""
        from gengap.compression.curvature import SpectralEstimate  # torch with it, which surveys do without

        arrays = (np.array(getattr(self.spectrum, name)) for name in QUADRATURES)
        return SpectralEstimate(*arrays, self.identity.n_params, self.spectrum.n_products)


def place_of(model: "ModelSpec | Identity") -> Path:
    """Where the survey of a model lies below a results folder."""
    return Path(model.family, model.size, f"{model.revision}-quantization.json")


def load_surveys(family: str) -> list[QuantizationSurvey]:
    """Published surveys, overridden by this machine's, by number of parameters."""
    found = QuantizationSurvey.collect(f"{family}/*/*-quantization.json")
    return sorted(found, key=lambda survey: survey.identity.n_params)
