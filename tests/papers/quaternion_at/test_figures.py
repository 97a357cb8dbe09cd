"""Quaternion anti-transfer: the figures show the numbers of the trials."""

import numpy as np
import pandas as pd

from common.results import RunResults
from papers.quaternion_at import figures


def run(right, of=4, fit_s=6.0, memory=500):
    """A run with one trial, with `right` correct predictions of chunks; utterances are all predicted as sad."""
    wrong = of - right
    table = pd.DataFrame({"label": ["angry", "sad"], "p_angry": [0.0, 0.0], "p_sad": [1.0, 1.0]})
    table = table.assign(chunks_angry=[right, 0], chunks_sad=[wrong, 0])
    trial = {
        "seconds": {"fit": fit_s}, "history": {"loss": [1.0, 0.5, 0.2], "validation": [1, 2, 3]},
        "peak_memory_mib": memory,
    }  # fmt: skip
    return RunResults({"classes": ["angry", "sad"]}, [trial], [table])


def test_gains_are_differences_of_accuracy_averaged_over_corpora():
    runs = {
        "quaternion_at/table1/iemocap/real/rnd": run(1),
        "quaternion_at/table1/tess/real/rnd": run(2),
        "quaternion_at/fig2/iemocap/real-s/rnd/layer03": run(3),
        "quaternion_at/fig2/tess/real-s/rnd/layer03": run(2),
        "quaternion_at/fig2/ravdess/real-s/rnd/layer03": run(4),  # its baseline was not run
        "quaternion_at/fig2/tess/real-s/rnd/layer13": run(1),
    }
    found = figures.gains(runs, "real", "S", "rnd")
    assert found[2] == 25.0 and found[12] == -25.0  # (50 + 0) / 2, and 25 - 50
    assert np.isnan(np.delete(found, [2, 12])).all()
    left, right = figures.draw_layers(runs, []).axes
    (line,) = [line for line in left.lines if line.get_label() == "Single S, random split"]
    assert line.get_ydata()[2] == 25.0
    (mean,) = [line for line in left.lines if line.get_label() == "mean"]
    np.testing.assert_array_equal(mean.get_ydata(), found)
    assert right.get_title() == "Quat" and figures.draw_layers({}, []) is None


def test_resources_are_seconds_per_epoch_and_memory():
    runs = {"quaternion_at/resources/iemocap/real": run(1), "quaternion_at/resources/iemocap/quat-s": run(1, fit_s=3)}
    seconds, memory = figures.draw_resources(runs, []).axes
    assert [bar.get_width() for bar in seconds.patches] == [2.0, 1.0]  # 6 s and 3 s in three epochs
    assert [bar.get_width() for bar in memory.patches] == [500, 500]
    assert [text.get_text() for text in seconds.get_yticklabels()] == ["Real", "Quat-AT Single S"]
    assert figures.draw_resources({}, []) is None


def test_seconds_per_epoch_count_both_trainings_of_dual_anti_transfer():
    trial = {"seconds": {"fit": 10.0}, "history": {"stage1_loss": [1, 1], "stage2_loss": [1, 1, 1], "layer": [2]}}
    assert figures.seconds_per_epoch(trial) == 2.0
