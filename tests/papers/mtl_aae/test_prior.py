"""The prior of the latent code, and how far a code is from it."""

import keras
import numpy as np
import pytest
from scipy import stats

from papers.mtl_aae.model import build_model
from papers.mtl_aae.phases import Phases
from papers.mtl_aae.prior import distance_to_prior, draw_prior
from tests.helpers import aae

PRIORS = ("rectified-normal", "half-normal", "normal", "uniform")


def draws(prior, shape=(4000, 2), seed=1):
    return np.asarray(draw_prior(prior, shape, "float32", keras.random.SeedGenerator(seed)))


def test_draws_have_the_moments_of_the_prior():
    for prior, mean, deviation, zeros in (
        ("rectified-normal", 0.3989, 0.5838, 0.5),  # 1 / sqrt(2 pi), sqrt(1/2 - 1 / (2 pi))
        ("half-normal", 0.7979, 0.6028, 0.0),
        ("normal", 0.0, 1.0, 0.0),
        ("uniform", 0.5, 0.2887, 0.0),
    ):
        drawn = draws(prior)
        assert (drawn.mean(), drawn.std()) == pytest.approx((mean, deviation), abs=0.03), prior
        assert (drawn == 0).mean() == pytest.approx(zeros, abs=0.03), prior
        assert (drawn.min() < 0) == (prior == "normal")


def test_the_distance_equals_scipys():
    for seed, (prior, distribution) in enumerate(
        (("normal", stats.norm()), ("half-normal", stats.halfnorm()), ("uniform", stats.uniform()))
    ):
        codes = np.random.default_rng(seed).gamma(2.0, 0.3, (50, 3, 2)) - 0.1
        expected = np.mean([stats.kstest(codes[..., k].ravel(), distribution.cdf).statistic for k in range(2)])
        assert distance_to_prior(codes, prior) == pytest.approx(expected, abs=1e-9)


def test_the_distance_of_draws_is_small_and_each_channel_counts():
    for prior in PRIORS:
        assert distance_to_prior(draws(prior), prior) < 0.03, prior
    # Half of the channels are always 0 and the others never: together they would look like the prior.
    split = np.stack([np.zeros(4000), draws("half-normal")[:, 0]], axis=1)
    assert distance_to_prior(split, "rectified-normal") == pytest.approx(0.5, abs=0.01)
    # A code with exact zeros never reaches a prior without them.
    assert distance_to_prior(draws("rectified-normal"), "half-normal") == pytest.approx(0.5, abs=0.03)


def test_the_second_phase_brings_the_code_to_the_prior():
    """Images of noise, without the other phases: the adversarial loss alone decides what the code looks like."""
    keras.utils.set_random_seed(1)
    config = aae.small(learning_rate=2e-3, dropout=0.0, tasks="emotion")
    model = build_model(config, {"emotion": 3})
    training = Phases(config, model, ("emotion",))
    step = training.steps.compile(training.regularise)
    generator = np.random.default_rng(1)
    images = generator.normal(size=(256, 16, 32, 1)).astype("float32")

    def distance():
        code = np.asarray(training.encoder(images, training=True))
        # As another test of two samples sees it.
        drawn = draws(config.prior, (20000,))
        ours = distance_to_prior(code.reshape(-1, 1), config.prior)
        assert ours == pytest.approx(stats.ks_2samp(code.ravel(), drawn).statistic, abs=0.02)
        return distance_to_prior(code, config.prior)

    start = distance()
    for _ in range(700):
        logs = step({"picture": generator.normal(size=(32, 16, 32, 1)).astype("float32")})
    assert start > 0.35 and distance() < 0.12
    assert 0.3 < float(logs["discriminator_accuracy"]) < 0.9
