"""Made-up ratings, and the concordance correlation coefficient in plain loops."""

import numpy as np


def literal_ccc(truth, prediction):
    """Lin (1989) in plain loops, population moments."""
    n = len(truth)
    mean_t, mean_p = sum(truth) / n, sum(prediction) / n
    covariance = sum((t - mean_t) * (p - mean_p) for t, p in zip(truth, prediction, strict=True)) / n
    variance_t, variance_p = sum((t - mean_t) ** 2 for t in truth) / n, sum((p - mean_p) ** 2 for p in prediction) / n
    return 2 * covariance / (variance_t + variance_p + (mean_t - mean_p) ** 2)


def ratings(seed, n=150, dimensions=3):
    generator = np.random.default_rng(seed)
    truth = generator.uniform(1, 5, (n, dimensions))
    return truth, 0.6 * truth + generator.normal(1.2, 0.7, truth.shape)
