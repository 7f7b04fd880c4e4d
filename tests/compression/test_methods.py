"""Every method of the book on a trained rung: files of the asked rate, retraining that pays, a survey that can be resumed."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from projects import SMALL

from gengap.compression import archive
from gengap.compression.layerwise import quantize
from gengap.compression.methods import METHODS, Compressor, check
from gengap.compression.retraining import Retraining, _bits_per_step, price_per_bit, retrain
from gengap.errors import UserError
from gengap.models.architecture import Architecture
from gengap.paths import run_results_dir
from gengap.records.survey import QuantizationSurvey, SurveySettings, load_surveys, place_of
from gengap.statistics.per_token import token_statistics
from gengap.training.loop import train
from gengap.workflow.survey import _Laboratory, survey, wanted

SPEC = replace(SMALL, family="test", size="8k")
SHAPE = Architecture.of(SPEC.config())
SHORT = Retraining(n_steps=60)


@pytest.fixture(scope="module")
def rung(small_project):
    """(model, rows): trained for its epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENGAP_ROOT", str(small_project))
        rows = SPEC.train_rows()
        train(SPEC, rows, SPEC.results_dir())
        yield SPEC.load(), rows


@pytest.fixture(scope="module")
def compressor(rung):
    return Compressor(*rung, n_calibration_rows=32)


def bits_per_parameter(quantized) -> float:
    return archive.prefix_free_bits(len(archive.encode(quantized, SHAPE))) / SPEC.n_params


def loss(model, rows) -> float:
    return float(token_statistics(model, rows[:200]).nll.mean())


@pytest.mark.parametrize("method", METHODS)
def test_every_method_leaves_the_model_alone_and_repeats_itself(rung, compressor, method):
    model, _ = rung
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, second = (compressor.quantize(method, 3) for _ in range(2))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    for name, tensor in first.tensors.items():
        np.testing.assert_array_equal(tensor.codes, second.tensors[name].codes)


@pytest.mark.parametrize("bits", [3, 4])
def test_entropy_coded_files_have_the_rate_asked_for(compressor, bits):
    length = bits_per_parameter(compressor.quantize("entropy", bits))
    assert bits - 0.15 < length <= bits  # steps are powers of two and of its root: not every rate is met


def test_entropy_coding_beats_rounding_at_the_same_length(rung, compressor):
    model, rows = rung
    rtn, coded = (compressor.quantize(method, 4) for method in ("rtn", "entropy"))
    assert bits_per_parameter(coded) < archive.honest_bits(rtn) / SPEC.n_params
    gaps = [loss(q.build(SPEC.config()), rows) - loss(model, rows) for q in (rtn, coded)]
    assert gaps[1] < 0.7 * gaps[0]


def test_retraining_lowers_what_the_bound_charges_for(rung, compressor):
    """Loss plus price times length, on the same rows, of files that both keep to the length asked for."""
    _, rows = rung
    price = price_per_bit(SPEC.n_params, SPEC.n_train_tokens)
    entropy, end = compressor.quantize("entropy", 3), compressor.quantize("qat", 3)
    costs = [loss(q.build(SPEC.config()), rows) + price * bits_per_parameter(q) for q in (entropy, end)]
    assert costs[1] < costs[0] - 0.02
    decoded, _ = archive.decode(archive.encode(end, SHAPE))
    assert all(torch.equal(value, decoded.state_dict()[name]) for name, value in end.state_dict().items())


def test_retraining_keeps_the_grid(rung, compressor):
    _, rows = rung
    start = compressor.quantize("entropy", 3)
    end = retrain(start, SPEC.config(), rows, 0.2, settings=SHORT)
    for name, tensor in start.tensors.items():
        np.testing.assert_array_equal(tensor.scales, end.tensors[name].scales)
        np.testing.assert_array_equal(tensor.column_scales, end.tensors[name].column_scales)
        assert (tensor.codes != end.tensors[name].codes).any()


@pytest.mark.parametrize("bits", [2, 3])
def test_a_retrained_file_is_no_longer_than_asked_for(compressor, bits):
    """Its nominal length is then the length of a code: the nominal bound is certified."""
    assert bits - 0.3 < bits_per_parameter(compressor.quantize("qat", bits)) <= bits


def test_retraining_goes_on_until_the_file_is_short_enough(rung, compressor):
    """After one step it is not; nothing that is too long is returned, and what cannot be reached is said."""
    _, rows = rung
    start, one = compressor.quantize("entropy", 3), Retraining(n_steps=1)
    limit = bits_per_parameter(start) - 0.2

    def retrained(limit):
        return retrain(start, SPEC.config(), rows, 0.0, 0, one, lambda quantized: bits_per_parameter(quantized) - limit)

    assert limit - 0.2 < bits_per_parameter(retrained(limit)) <= limit
    with pytest.raises(UserError, match="choose more bits"):
        retrained(0.3)


def test_a_higher_price_makes_a_shorter_file(rung, compressor):
    _, rows = rung
    start = compressor.quantize("entropy", 4)
    free, dear = (retrain(start, SPEC.config(), rows, price, settings=SHORT) for price in (0.0, 2.0))
    assert bits_per_parameter(dear) < bits_per_parameter(start) - 0.05
    assert bits_per_parameter(dear) < bits_per_parameter(free) - 0.05


@pytest.mark.parametrize("mean", [0.1, 0.5, 1.0, 4.0])
def test_the_price_of_a_step_is_that_of_a_geometric_code(mean):
    """-log2 of the ratio r of neighbouring probabilities; a two-sided geometric law has mean magnitude 2r/(1-r^2)."""
    codes = np.random.default_rng(0).poisson(mean, (500, 500))
    r = 2.0 ** -_bits_per_step(torch.from_numpy(codes).float()).double()
    np.testing.assert_allclose((2 * r / (1 - r**2)).mean(), mean, rtol=0.02)


def test_retraining_that_was_stopped_goes_on_to_the_same_digits(rung, compressor, tmp_path):
    _, rows = rung
    start, state = compressor.quantize("entropy", 3), tmp_path / "state.part"
    whole = retrain(start, SPEC.config(), rows, 0.2, settings=SHORT)
    calls = iter(range(100))

    def killed(_):
        if next(calls) == 5:  # at step 50
            raise KeyboardInterrupt
        return -1.0

    arguments = start, SPEC.config(), rows, 0.2, 0, SHORT
    with pytest.raises(KeyboardInterrupt):
        retrain(*arguments, killed, state, save_every_s=0.0)
    seen = []
    again = retrain(*arguments, lambda quantized: seen.append(quantized) or -1.0, state)
    assert len(seen) == 2  # of seven looks: it did not begin anew
    for name, values in whole.state_dict().items():
        assert torch.equal(values, again.state_dict()[name]), name
    with pytest.raises(UserError, match="belongs to another retraining"):
        retrain(start, SPEC.config(), rows, 0.3, 0, SHORT, state=state)
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(UserError, match="is damaged"):
        retrain(*arguments, state=state)


def test_the_training_text_is_read_again_as_often_as_asked_for_at_most():
    assert Retraining().steps_on(10**6) == Retraining().n_steps
    assert Retraining(passes=0.5).steps_on(1600) * Retraining().batch_rows == 800
    assert Retraining.of(10**6, 3).n_steps > Retraining.of(10**5, 3).n_steps == Retraining().n_steps
    assert Retraining.of(10**5, 2) == Retraining.of(10**6, 2)


def test_rotated_matrices_are_not_retrained(rung):
    model, rows = rung
    rotated = quantize(model, "quip", 4, 0, rows[:8][:, :-1])
    with pytest.raises(ValueError, match="rotated"):
        retrain(rotated, SPEC.config(), rows, 0.2)


def test_diverging_retraining_is_one_message(rung, compressor):
    _, rows = rung
    with pytest.raises(UserError, match="retraining diverged at step"):
        retrain(compressor.quantize("entropy", 3), SPEC.config(), rows, 0.2, settings=Retraining(vector_rate=1e30))


@pytest.mark.parametrize(("method", "bits", "said"), [("gptp", 4, "unknown"), ("qat", 9, "choose 2 to 8")])
def test_unknown_methods_and_bits_are_refused(method, bits, said):
    with pytest.raises(UserError, match=said):
        check(method, bits)


FEW = SurveySettings(
    bits=(2, 4),
    entropy_bits=(3,),
    qat_bits=(),
    group_size=64,
    n_calibration_rows=32,
    n_windows=24,
    n_bound_windows=16,
    n_seeds=2,
    n_curvature_windows=2,
    n_probes=2,
    n_lanczos_steps=8,
)


@pytest.fixture(scope="module")
def whole(rung):
    return survey(SPEC, FEW)


def test_a_survey_stopped_anywhere_goes_on_with_the_next_cell(whole, monkeypatch):
    """Killed after three cells, it measures the others only, and ends with the same record."""
    path = run_results_dir() / place_of(SPEC)
    assert QuantizationSurvey.read(path) == whole
    assert load_surveys("test") == [whole]
    measured = []
    measure = _Laboratory.measure

    def until_killed(self, compressors, method, bits):
        if len(measured) == 3:
            raise KeyboardInterrupt
        measured.append((method, bits))
        return measure(self, compressors, method, bits)

    monkeypatch.setattr(_Laboratory, "measure", until_killed)
    with pytest.raises(KeyboardInterrupt):
        survey(SPEC, FEW)
    assert QuantizationSurvey.read(path) == whole  # the old one is there until the new one is whole
    rest = []

    def noted(self, compressors, method, bits):
        rest.append((method, bits))
        return measure(self, compressors, method, bits)

    monkeypatch.setattr(_Laboratory, "measure", noted)
    resumed = survey(SPEC, FEW)
    assert measured + rest == wanted(FEW)
    untimed = {"seconds": 0.0}
    assert [c.model_copy(update=untimed) for c in resumed.cells] == [c.model_copy(update=untimed) for c in whole.cells]


def test_a_survey_says_what_quantization_does(whole):
    coarse, fine = whole.cell("gptq", 2), whole.cell("gptq", 4)
    assert coarse.gap > fine.gap > 0
    assert fine.seed_error > 0 == whole.cell("rtn", 4).seed_error
    assert fine.code_length_bits["archive"] < fine.code_length_bits["honest"]
    learning = 0.1 * SPEC.n_params  # of histograms, at eight thousand codes
    assert fine.code_length_bits["archive"] < 1.01 * fine.codes_entropy_bits + fine.side_bits + learning
    assert fine.tight_gaps["nominal"] < fine.paper_gap
    terms = fine.tight_deviation + fine.tight_smoothing + fine.gaps[0]
    np.testing.assert_allclose(terms, fine.tight_gaps["archive"], rtol=1e-6)
    with pytest.raises(KeyError, match="was not surveyed"):
        whole.cell("qat", 2)
    trace, error = whole.spectral_estimate.trace_of(lambda x: x)
    assert 0 < error < trace


def test_a_damaged_survey_is_one_message(tmp_path):
    path = tmp_path / "main-quantization.json"
    path.write_text("{}")
    with pytest.raises(UserError, match="no valid survey: identity"):
        QuantizationSurvey.read(path)
    assert os.listdir(tmp_path) == [path.name]
