"""Information content against hand-made curves, closed forms and sums taken step by step."""

import math

import numpy as np
import pytest

from gengap.laws import information
from gengap.units import NATS_PER_BIT

N_PARAMS, TOKENS = 1000, 64


def power_curve(n_steps, irreducible=2.0, B=30.0, beta=0.4):
    """Online losses under the law, each batch scored with the tokens seen at its middle."""
    return irreducible + B * (TOKENS * (np.arange(n_steps) + 0.5)) ** -beta


def test_by_hand():
    content = information.from_log([3.0, 2.5, 2.0, 1.5], TOKENS, 1.0, N_PARAMS, 0.01)
    assert content.nats == TOKENS * (2.0 + 1.5 + 1.0 + 0.5)
    assert content.standard_error == pytest.approx(4 * TOKENS * 0.01)
    assert content.bits == pytest.approx(content.nats / NATS_PER_BIT)
    assert content.bits_per_param == pytest.approx(content.bits / N_PARAMS)
    assert content.nats_per_token == 1.25
    assert content.interpolation_error == 0


def test_what_is_never_learned_costs_nothing():
    flat = information.from_log(np.full(50, 3.3), TOKENS, 3.3, N_PARAMS)
    assert flat.nats == 0
    harder = information.from_log(power_curve(400, irreducible=5.0), TOKENS, 5.1, N_PARAMS)
    easier = information.from_log(power_curve(400, irreducible=1.0), TOKENS, 1.1, N_PARAMS)
    assert harder.nats == pytest.approx(easier.nats, rel=1e-9)


@pytest.mark.parametrize("beta", [0.28, 0.3658, 0.5])
def test_closed_form_is_the_area_under_the_law(beta):
    n_steps, B = 20_000, 30.0
    n_tokens = n_steps * TOKENS
    online = power_curve(n_steps, 2.0, B, beta)
    final = 2.0 + B * n_tokens**-beta
    measured = information.from_log(online, TOKENS, final, N_PARAMS).nats
    assert measured == pytest.approx(float(information.closed_form(B, beta, n_tokens)), rel=0.01)


def test_closed_form_grows_as_its_exponent():
    small, large = information.closed_form(410.7, 0.28, [1e9, 1e11])
    assert math.log(large / small) / math.log(100) == pytest.approx(0.72)
    for beta in (-0.1, 0.0, 1.0):
        with pytest.raises(ValueError, match="beta"):
            information.closed_form(1.0, beta, 1e6)


def test_weights_add_up_and_are_exact_on_straight_lines_in_log_step():
    steps, n_steps = information.log_spaced_steps(3000, 256, 500), 3000
    assert list(steps[:5]) == [0, 1, 2, 4, 8]
    assert steps[-1] == 2500
    weights = information.step_weights(steps, n_steps)
    assert weights.sum() == pytest.approx(n_steps)
    everything = np.arange(2501)
    line = 7.0 - 0.4 * np.log1p(everything)
    to_the_last = information.step_weights(steps, 2501)
    assert to_the_last @ line[steps] == pytest.approx(line.sum(), rel=1e-12)


def test_a_checkpoint_at_every_step_gives_the_log():
    rng = np.random.default_rng(0)
    online = power_curve(300) + 0.1 * rng.standard_normal(300)
    log = information.from_log(online, TOKENS, 2.5, N_PARAMS)
    every = information.from_checkpoints(np.arange(300), online, 300, TOKENS, 2.5, N_PARAMS)
    assert every.nats == pytest.approx(log.nats, rel=1e-12)


def test_few_checkpoints_come_close_and_know_how_close():
    """On a smooth curve the rule is off by no more than the error that it states, and by a fraction of K."""
    n_steps = 4000
    online, final = power_curve(n_steps), power_curve(n_steps)[-1]
    truth = information.from_log(online, TOKENS, final, N_PARAMS).nats
    for doublings, every in ((64, 128), (256, 500), (2048, 4000)):
        steps = information.log_spaced_steps(n_steps, doublings, every)
        losses = [*online[steps], final]
        found = information.from_checkpoints([*steps, n_steps], losses, n_steps, TOKENS, final, N_PARAMS)
        assert 0 < abs(found.nats - truth) <= found.interpolation_error
        assert found.interpolation_error < 0.1 * truth


def test_sampling_errors_cover():
    """Measured losses with known errors: K lands within two standard errors of its noiseless value in about 95 %."""
    rng, n_steps = np.random.default_rng(1), 2000
    steps = information.log_spaced_steps(n_steps, 512, 200)
    losses = power_curve(n_steps)[steps]
    exact = information.from_checkpoints(steps, losses, n_steps, TOKENS, 2.3, N_PARAMS).nats
    z = []
    for _ in range(400):
        noisy = losses + 0.03 * rng.standard_normal(losses.size)
        final = 2.3 + 0.01 * rng.standard_normal()
        found = information.from_checkpoints(steps, noisy, n_steps, TOKENS, final, N_PARAMS, 0.03, 0.01)
        z.append((found.nats - exact) / found.standard_error)
    assert abs(np.std(z) - 1) < 4 / math.sqrt(2 * 400)


def test_reading_off_a_log():
    online = power_curve(1000)
    losses, errors = information.read_off(online, [0, 1, 100])
    np.testing.assert_allclose(losses[:2], online[:2])
    assert losses[2] == pytest.approx(online[95:106].mean())
    assert errors[2] == pytest.approx(errors[0] / math.sqrt(11))


@pytest.mark.parametrize("steps", [[1, 2], [0, 2, 2], [0], [0, 3, 2]])
def test_checkpoints_must_increase_from_zero(steps):
    with pytest.raises(ValueError, match="from step 0"):
        information.step_weights(steps, 10)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="past the last step"):
        information.step_weights([0, 20], 10)
    with pytest.raises(ValueError, match="NaN"):
        information.from_log([1.0, math.nan], TOKENS, 1.0, N_PARAMS)
