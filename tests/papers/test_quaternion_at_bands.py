"""Regression bands: what scaled runs reach on the embedded corpus (slow tier) and on real ones (corpus tier)."""

import math

import pytest

from common.report import build
from papers import cli
from papers.quaternion_at.experiments import PAPER

LAYER = ("--set", "at_layers=2")


def measured(folder, row, *more, scaled=True):
    """The cells of one row that were measured, by their column."""
    arguments = ["run", f"quaternion_at/{row}", "--no-yardstick", *(("--scaled",) if scaled else ()), *more]
    assert cli.main([*arguments, "--results", str(folder / "results"), "--cache", str(folder / "cache")]) == 0
    report = build.from_results([PAPER], folder / "results")
    return {
        one.cell.column: one
        for section in report.sections
        for one in section.comparisons
        if one.measured is not None and one.cell.experiment == f"quaternion_at/{row}"
    }


@pytest.mark.slow
@pytest.mark.parametrize("network", ["real", "quat"])
def test_networks_hear_emotion_in_the_demo_corpus(network, tmp_path):
    """Chance is 25 %."""
    (one,) = measured(tmp_path, f"resources/iemocap/{network}", "--corpus", "demo").values()
    assert one.verdict == "scaled run" and math.isnan(one.difference)
    assert 45 < one.measured.value < 95
    assert "synthetic corpus: embedded demo corpus (synthetic, espeak-ng)" in one.flags
