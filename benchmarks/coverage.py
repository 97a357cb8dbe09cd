"""How often intervals for new speakers hold the true value: simulated corpora of 5 to 24 speakers, nominal 95 %.

Speakers are drawn from a population in which each has a skill of its own, by class, and an unequal number of
utterances; the true value is that of 20,000 speakers. Sizes are those of EMODB (7 classes, 53 utterances per speaker)
and IEMOCAP (4 classes, 230 per speaker; ratings). Once per speaker and fold, and once for all predictions pooled.
"""

from __future__ import annotations

import numpy as np

from benchmarks.measure import Figure, figure
from common.intervals import aggregate, speaker_interval
from common.metrics import METRICS

SPEAKERS = (5, 8, 10, 12, 24)
POPULATION, SIMULATIONS = 20_000, 4000

RECALLS = {"EMODB": ((0.85, 0.75, 0.6, 0.7, 0.55, 0.8, 0.8), 53, 0.5), "IEMOCAP": ((0.75, 0.4, 0.65, 0.7), 230, 0.3)}
"""Mean recall of each class, utterances per speaker, and spread of speakers' skills on the logit scale."""


def confusions(name: str, generator: np.random.Generator) -> np.ndarray:
    """Confusion counts of each speaker of a population, shape (speakers, classes, classes)."""
    recalls, size, spread = RECALLS[name]
    classes = len(recalls)
    sizes = generator.poisson(size, (POPULATION, 1)) * generator.dirichlet(np.full(classes, 20.0), POPULATION)
    support = np.maximum(sizes.round().astype(int), 1)
    skill = generator.normal(0, spread, (POPULATION, 1)) + generator.normal(0, spread, (POPULATION, classes))
    right = generator.binomial(support, 1 / (1 + np.exp(-np.log(np.divide(recalls, np.subtract(1, recalls))) - skill)))
    counts = np.zeros((POPULATION, classes, classes), int)
    for one in range(classes):
        others = [other for other in range(classes) if other != one]
        counts[:, one, one] = right[:, one]
        counts[:, one, others] = generator.multinomial(
            support[:, one] - right[:, one], np.full(classes - 1, 1 / len(others))
        )
    return counts


def moments_of_ratings(generator: np.random.Generator) -> np.ndarray:
    """Moments of true and predicted ratings of each speaker of a population, shape (speakers, 1, 6)."""
    found = np.empty((POPULATION, 1, 6))
    for speaker, size in enumerate(np.maximum(generator.poisson(230, POPULATION), 2)):
        truth = generator.normal(generator.normal(3, 0.25), 0.8, size)
        predicted = 3 + 0.5 * (truth - 3) + generator.normal(0, 0.25) + generator.normal(0, 0.5, size)
        sums = truth.sum(), predicted.sum(), truth @ truth, predicted @ predicted, truth @ predicted
        found[speaker, 0] = size, *sums
    return found


def coverage(
    population: np.ndarray, name: str, aggregation: str, speakers: int, generator: np.random.Generator
) -> float:
    """Percentage of simulated corpora whose interval holds the population's value."""
    metric = METRICS[name]
    function = metric.function("mean")
    by_fold = population[None, :] if aggregation == "folds" else population.sum(0)[None, None]
    truth = float(aggregate(by_fold, function, aggregation)[0])
    covered = 0
    for _ in range(SIMULATIONS):
        drawn = population[generator.integers(0, POPULATION, speakers)]
        statistics = np.zeros((1, speakers if aggregation == "folds" else 1, speakers, *drawn.shape[1:]), drawn.dtype)
        for speaker, sums in enumerate(drawn):
            statistics[0, speaker if aggregation == "folds" else 0, speaker] = sums
        low, high = speaker_interval(statistics, function, aggregation, bounds=metric.bounds)
        covered += low <= truth <= high
    return 100 * covered / SIMULATIONS


def main() -> list[Figure]:
    """Coverage by metric, aggregation and number of speakers, and the largest deviation from 95 %."""
    generator = np.random.default_rng(0)
    cases = [(corpus, confusions(corpus, generator), name) for corpus in RECALLS for name in ("wa", "ua")]
    cases.append(("IEMOCAP", moments_of_ratings(generator), "ccc"))
    figures = []
    for corpus, population, name in cases:
        for aggregation in ("pooled",) if name == "ccc" else ("folds", "pooled"):
            for speakers in SPEAKERS:
                found = coverage(population, name, aggregation, speakers, generator)
                title = f"coverage, {METRICS[name].title}, {corpus}'s size, {aggregation}, {speakers} speakers"
                figures.append(figure(title, [found], "%", headline=False))
    deviation = max(abs(one.value - 95) for one in figures)
    title = "intervals for new speakers: largest deviation from 95 % coverage"
    return [*figures, figure(title, [deviation], "points", 2.0)]
