"""The inequalities for one mean and the summand of every bound in mpmath and plain loops that call nothing of the library."""

import mpmath as mp
import numpy as np

from gengap.bounds import sampling


def samples(n_windows, seq_len):
    """Of each kind one or more, and of each way in which they end."""

    def windows(n_pilot, n_certificate, failure_prob, method):
        return sampling.draw_windows(n_windows, n_pilot, n_certificate, failure_prob, np.random.default_rng(1), method)

    return {
        "all tokens": None,
        "betting": windows(4, 20, 0.3, "betting"),
        "empirical Bernstein": windows(4, 20, 0.3, "empirical-bernstein"),
        "Hoeffding": windows(4, 20, 0.3, "hoeffding"),
        "betting on three": windows(4, 3, 0.01, "betting"),
        "empirical Bernstein on three": windows(4, 3, 0.01, "empirical-bernstein"),  # more than the range: cut
        "Hoeffding on three": windows(4, 3, 1e-4, "hoeffding"),  # as well
        "every window": windows(4, n_windows - 4, 0.1, "betting"),
        "pairs": sampling.draw_pairs(n_windows, seq_len, 50, 0.1, np.random.default_rng(2)),
    }


def drawn(sample, values):
    """What the sample drew of (n_windows, seq_len) values."""
    if sample is None:
        return values
    if isinstance(sample, sampling.PairSample):
        return values[sample.windows, sample.positions]
    return values[sample.windows]


def exact(values):
    """(n_windows, seq_len) or (n,) floats as rows of mpmath's numbers."""
    return [[mp.mpf(float(v)) for v in row] for row in np.reshape(values, (len(values), -1))]


def mean(values):
    return mp.fsum(values) / len(values)


def mean_of_rows(rows):
    return mean([mean(row) for row in rows])


# The inequalities for one mean: excess over the sample mean at a budget of b nats.


def hoeffding(x, span, b, population):
    return span * mp.sqrt(b / (2 * len(x)))


def empirical_bernstein(x, span, b, population):
    n, b = len(x), b + mp.log(2)
    variance = mp.fsum((v - mean(x)) ** 2 for v in x) / (n - 1)
    if population is None:
        return mp.sqrt(2 * variance * b / n) + 7 * span * b / (3 * (n - 1))
    if 2 * b >= n:
        return span
    u2, d = span**2 * b / (2 * n), mp.mpf(0)
    # the inequality that its docstring derives, with equality: a contraction by at least sqrt(2b/n)
    for _ in range(200):
        d = 4 * span * b / (3 * n) + mp.sqrt(2 * b / n) * mp.sqrt((n - 1) * variance / n + u2 + d**2)
    return d


def betting(x, span, b, population):
    """Where a gambler's capital, bet by bet, reaches e^b. `x` lie in [0, span]."""
    n, z = len(x), [v / span for v in x]
    weights = [mp.mpf(1) if population is None else mp.mpf(population) / (population - i) for i in range(n)]
    total_weight = mp.fsum(w**2 for w in weights)

    def reaches(m):
        seen, squares, capital = mp.mpf(0), mp.mpf(1) / 4, mp.mpf(1)
        for i in range(n):
            left = m if population is None else (population * m - seen) / (population - i)
            stake = weights[i] * mp.sqrt(2 * b / (total_weight * squares / (i + 1)))
            capital *= 1 + (min(stake, mp.mpf(9) / 10 / (1 - left)) if left < 1 else stake) * (left - z[i])
            seen += z[i]
            squares += (z[i] - (mp.mpf(1) / 2 + seen) / (i + 2)) ** 2
            if capital >= mp.exp(b):
                return True
        return False

    low = mp.mpf(0) if population is None else mp.fsum(z) / population
    high = mp.mpf(1) if population is None else low + mp.mpf(population - n) / population
    if not reaches(high):
        return span * (high - mean(z))
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return span * (high - mean(z))


EXCESS = {"hoeffding": hoeffding, "empirical-bernstein": empirical_bernstein, "betting": betting}


def f(x, y, rate):
    return y - mp.log(1 + rate * (y - x)) / rate


def sampling_error(sample, rows, low, high):
    """Upper bound on the mean over all windows, less the mean over those drawn."""
    if sample is None:
        return mp.mpf(0)
    values, b = [mean(row) for row in rows], -mp.log(mp.mpf(sample.failure_prob))
    if isinstance(sample, sampling.PairSample):
        return hoeffding(values, high - low, b, None)
    n_pilot = len(sample.pilot)
    pilot, certificate, rest = values[:n_pilot], values[n_pilot:], sample.n_windows - n_pilot
    if len(certificate) == rest:
        return mp.mpf(0)
    excess = EXCESS[sample.method]([v - low for v in certificate], high - low, b, rest)
    upper = min(mean(certificate) + excess, high)
    return (mp.fsum(pilot) + rest * upper) / sample.n_windows - mean(values)
