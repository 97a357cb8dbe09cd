"""Scaled runs give a UA in the expected range, on the embedded corpus (slow) and on real ones (corpus)."""

import math
from pathlib import Path

import pytest

from papers.mtl_aae.experiments import PAPER
from ser import cli
from ser.results.report import build


def reproduced(table, corpus, folder, *more):
    arguments = ["reproduce", "mtl_aae", "--table", table, "--corpus", corpus, "--scaled", "--no-yardstick"]
    assert cli.main([*arguments, "--results", str(folder / "results"), "--cache", str(folder / "cache"), *more]) == 0
    report = build.from_results([PAPER], Path(folder / "results"))
    found = [one for one in report.sections[0].comparisons if one.measured is not None]
    return report, [one for one in found if one.cell.function == "ua"]  # the report adds F1 scores


@pytest.mark.slow
def test_the_autoencoder_recognises_emotion_in_the_demo_corpus(tmp_path):
    """Chance is 25 %, and all five folds gave 60.6 %. Below 40 something is broken, above 85 something leaks."""
    _, (one,) = reproduced("2-5fold", "demo", tmp_path, "--auxiliary", "none", "--folds", "2")
    assert one.verdict == "scaled run" and math.isnan(one.difference)
    assert one.measured.folds == 2 and 40 < one.measured.value < 85
    assert "without auxiliary data" in one.flags
    assert "synthetic corpus: embedded demo corpus (synthetic, espeak-ng)" in one.flags


@pytest.mark.corpus
def test_every_network_recognises_emotion_of_unseen_speakers_of_emodb(tmp_path):
    """Chance is 25 %, and five folds gave 73 to 82 %. LibriSpeech may be incomplete."""
    report, measured = reproduced("fig2", "emodb", tmp_path, "--partial", "--folds", "2")
    assert len(measured) == 6
    for one in measured:
        assert one.verdict == "scaled run" and 35 < one.measured.value < 95
    assert [drawing.figure.id for drawing in report.drawings] == ["2", "A1"]
