"""Measuring what quantization does to one model: every method and number of bits, one cell after the other (chapter 16).

Finished cells are kept on disk at once, so that a survey that was stopped goes on with the next cell.
"""

import time
from pathlib import Path

import numpy as np
import torch
from pydantic import TypeAdapter
from tqdm import tqdm

from gengap import files, locks
from gengap.bounds import smoothing
from gengap.bounds.concentration import default_s_grid, loss_variation
from gengap.bounds.terms import CodedModel
from gengap.bounds.theorems import closed_form_gap
from gengap.compression import archive, curvature
from gengap.compression.archive import Hypothesis
from gengap.compression.methods import METHODS, Compressor
from gengap.compression.quantized import QuantizedModel
from gengap.models.spec import ModelSpec
from gengap.paths import atomic_path, run_results_dir
from gengap.records.base import identify, provenance
from gengap.records.survey import Cell, QuantizationSurvey, Spectrum, SurveySettings, place_of
from gengap.statistics.per_token import TokenStatistics, token_statistics
from gengap.tokens.rows import sample_rows
from gengap.workflow.tilts import choose_tilts

PILOT_WINDOWS = 8  # on which the constants of the tight bound are chosen
_CELLS = TypeAdapter(tuple[SurveySettings, list[Cell]])


def survey(spec: ModelSpec, settings: SurveySettings | None = None) -> QuantizationSurvey:
    """Measure every cell and the spectrum, write the survey, return it; resumes where it was stopped.

    Raises `UserError` without a checkpoint or its training rows, and while another process makes it.
    """
    with locks.writing(run_results_dir() / place_of(spec)):
        return _survey(spec, settings or SurveySettings())


def _survey(spec: ModelSpec, settings: SurveySettings) -> QuantizationSurvey:
    started = time.monotonic()
    model, rows = spec.load(), spec.train_rows()
    windows = sample_rows(rows, settings.n_windows, settings.seed)
    compressors = [
        Compressor(model, rows, settings.group_size, settings.n_calibration_rows, settings.seed + 1 + k)
        for k in range(settings.n_seeds)
    ]
    laboratory = _Laboratory(spec, windows, token_statistics(model, windows).nll, settings.n_bound_windows)
    part = (run_results_dir() / place_of(spec)).with_suffix(".part")
    cells = _finished(part, settings)
    title = f"{spec.model_size}, methods and bits"
    for method, bits in tqdm(wanted(settings), title, unit="cell", unit_scale=True, disable=None):
        if not any((cell.method, cell.bits) == (method, bits) for cell in cells):
            cells.append(laboratory.measure(compressors, method, bits))
            with atomic_path(part) as path:
                path.write_bytes(files.seal(_CELLS.dump_json((settings, cells)) + b"\n"))
    result = QuantizationSurvey(
        identity=identify(spec, rows.sha256, spec.revision),
        settings=settings,
        train_risk=float(laboratory.before.mean(dtype=np.float64)),
        cells=tuple(cells),
        spectrum=_spectrum(model, rows, settings),
        provenance=provenance(str(model.device), time.monotonic() - started),
    )
    result.write()
    part.unlink(missing_ok=True)
    return result


def wanted(settings: SurveySettings) -> list[tuple[str, int]]:
    """(method, bits) of every cell."""
    to_length = {name: method for name, method in METHODS.items() if method.to_length}
    fixed = [(name, b) for b in settings.bits for name in METHODS if name not in to_length]
    tried = {name: getattr(settings, f"{name}_bits", method.survey_bits) for name, method in to_length.items()}
    return fixed + [(name, b) for name, bits in tried.items() for b in bits]


def _finished(part: Path, settings: SurveySettings) -> list[Cell]:
    """Those that an earlier process measured with the same settings; none of a file that is damaged."""
    try:
        body, stated = files.unseal(part.read_bytes())
        of_settings, cells = _CELLS.validate_json(body)
    except (OSError, ValueError):
        return []
    return cells if stated and of_settings == settings else []


def _spectrum(model, rows, settings: SurveySettings) -> Spectrum:
    started = time.monotonic()
    matrix = curvature.gauss_newton(model, sample_rows(rows, settings.n_curvature_windows, settings.seed + 2))
    found = curvature.lanczos_quadrature(matrix, settings.n_probes, settings.n_lanczos_steps, settings.seed)
    return Spectrum.of(found, time.monotonic() - started)


class _Laboratory:
    """The windows of a survey, and the original model's losses on them."""

    def __init__(self, spec: ModelSpec, windows: np.ndarray, before: np.ndarray, n_bound_windows: int):
        self.spec, self.windows, self.before, self.n_bound_windows = spec, windows, before, n_bound_windows

    def measure(self, compressors: list[Compressor], method: str, bits: int) -> Cell:
        started = time.monotonic()
        quantized = compressors[0].quantize(method, bits)
        content = archive.encode(quantized, self.spec.architecture)
        _require_equal(quantized, archive.decode(content)[0])
        lengths = Hypothesis(quantized, method, bits, len(content)).code_length_bits
        model = quantized.build(self.spec.config())
        coded = {name: self._coded(length) for name, length in lengths.items()}
        few, others = np.split(self.windows, [self.n_bound_windows])
        tilts = choose_tilts(token_statistics, model, few[:PILOT_WINDOWS], coded)
        on_few = token_statistics(model, few, [coded["nominal"].paper_alpha], tilts=tilts.values())
        nll = np.concatenate([on_few.nll, token_statistics(model, others).nll]) if len(others) else on_few.nll
        rises = (nll - self.before).mean(axis=1, dtype=np.float64)  # (n_windows,)
        gaps = [rises.mean()]
        for other in compressors[1:] if METHODS[method].looks_at_data else []:
            again = token_statistics(other.quantize(method, bits).build(self.spec.config()), self.windows).nll
            gaps.append((again - self.before).mean(dtype=np.float64))
        sigma, paper_gap = self._paper(coded["nominal"], on_few.nll, on_few.entropy[0], gaps[0])
        tight, terms = self._tight(coded, on_few, tilts, gaps[0])
        return Cell(
            method=method,
            bits=bits,
            gaps=tuple(map(float, gaps)),
            window_error=float(rises.std(ddof=1) / np.sqrt(len(rises))),
            code_length_bits=lengths,
            codes_entropy_bits=sum(_entropy_bits(t.codes) for t in quantized.tensors.values()),
            side_bits=lengths["honest"] - sum(t.bits * t.codes.size for t in quantized.tensors.values()),
            squared_step=curvature.mean_squared_step(quantized),
            sigma=sigma,
            paper_gap=paper_gap,
            tight_gaps=tight,
            tight_deviation=terms[0],
            tight_smoothing=terms[1],
            seconds=time.monotonic() - started,
        )

    def _coded(self, length_bits: float) -> CodedModel:
        return CodedModel(length_bits, self.spec.n_train_tokens, self.spec.vocab_size)

    def _paper(self, coded: CodedModel, nll, entropy, gap) -> tuple[float, float]:
        """Sigma and the paper's gap (Thm 3.4)."""
        c, alpha = coded.complexity(coded.s_grid_size), coded.paper_alpha
        x = smoothing.smoothed_nll(nll, alpha, self.spec.vocab_size)
        loss_range = float(smoothing.loss_range(alpha, self.spec.vocab_size))
        found = loss_variation(x.ravel(), entropy.ravel(), loss_range, c, default_s_grid(coded.s_grid_size))
        return float(found.sigma), closed_form_gap(coded, float(found.sigma)) + float(gap)

    def _tight(self, coded, statistics: TokenStatistics, tilts, gap) -> tuple[dict[str, float], tuple[float, float]]:
        """Gap of our bound for each accounting, and with the archive's its deviation and smoothing terms."""
        gaps = {}
        for name, tilt in tilts.items():
            found = statistics.tilted(tilt)
            smoothed = float(found.loss.mean())
            deviation = (
                coded[name].complexity(tilt.grid_size) / tilt.rate
                + float(tilt.summand(found.loss, found.entropy).mean())
                - smoothed
            )
            terms = deviation, smoothed - float(statistics.nll.mean(dtype=np.float64))
            gaps[name] = sum(terms) + float(gap)
        return gaps, terms  # the archive comes last


def _entropy_bits(codes: np.ndarray) -> float:
    """Empirical entropy of all entries together, bits."""
    counts = np.unique(codes, return_counts=True)[1]
    return float(np.sum(counts * np.log2(codes.size / counts)))


def _require_equal(written: QuantizedModel, read: QuantizedModel) -> None:
    """Every cell of a survey is also a test of the file: it must decode to the same weights, bit for bit."""
    before, after = written.state_dict(), read.state_dict()
    if before.keys() != after.keys() or not all(torch.equal(before[name], after[name]) for name in before):
        raise RuntimeError("the archive does not decode to what was encoded: please report this")
