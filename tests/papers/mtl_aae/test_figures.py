"""Figures of the adversarial autoencoder show what was measured."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from common.results import RunResults
from papers.mtl_aae import figures
from papers.mtl_aae.experiments import PAPER
from ser.results.comparing import compare
from ser.results.reported import read_cells

CELLS = read_cells(PAPER.reported)


def drawing(runs):
    """What figures are drawn from: runs, and the comparisons of all cells."""
    return runs, compare(CELLS, runs)


CLASSES = ["angry", "happy", "neutral", "sad"]


def measured(experiment, right, corpus="emodb", **history):
    """A run of two folds, 8 utterances each, of which so many are answered rightly: half of each class and upwards."""
    trials, predictions = [], []
    for fold in ("speaker-a", "speaker-b"):
        label = CLASSES * 2
        answers = [name if k < right else CLASSES[(k + 1) % 4] for k, name in enumerate(label)]
        table = pd.DataFrame({"utterance": [f"{fold}{k}" for k in range(8)], "speaker": fold, "label": label})
        for name in CLASSES:
            table[f"p_{name}"] = [float(answer == name) for answer in answers]
        trials.append({"fold": fold, "repeat": 1, "flags": [], "audit": {}, "history": history})
        predictions.append(table)
    run = {
        "experiment": experiment, "corpus": corpus, "classes": CLASSES, "dimensions": [], "changes": ["scaled"],
        "folds": ["speaker-a", "speaker-b"], "declared_repeats": 1, "synthetic": False,
        "flags": ["without auxiliary data: librispeech is not here"],
    }  # fmt: skip
    return RunResults(run, trials, predictions)


def test_figure_2_has_a_bar_for_each_network_that_was_run():
    runs = {
        "mtl_aae/fig2/emodb/cnn-single": measured("mtl_aae/fig2/emodb/cnn-single", 4),
        "mtl_aae/fig2/emodb/cnn-multi": measured("mtl_aae/fig2/emodb/cnn-multi", 8),
        "mtl_aae/fig2/emodb/aae-multi": measured("mtl_aae/fig2/emodb/aae-multi", 6),
    }
    figure = figures.draw_tasks(*drawing(runs))
    (axis,) = figure.axes
    # 4, 8 and 6 of 8 right, evenly over the classes but for the last two: UA 50, 100 and 75.
    bars = {round(bar.get_x() + bar.get_width() / 2, 2): bar.get_height() for bar in axis.patches}
    assert bars == pytest.approx({-0.2: 50, 0.2: 100, 1.2: 75})
    assert [label.get_text() for label in axis.get_xticklabels()] == ["CNN", "AAE"]
    assert axis.get_title() == "EMODB emotion"
    note = figure._supxlabel.get_text()
    assert "scaled" in note and "without auxiliary data" in note and "synthetic" not in note
    assert "missing" not in note
    part = runs["mtl_aae/fig2/emodb/cnn-single"]
    part = RunResults(part.run, part.trials[:1], part.predictions[:1])
    only = figures.draw_tasks(*drawing({"mtl_aae/fig2/emodb/cnn-single": part}))
    assert "folds missing" in only._supxlabel.get_text()
    assert figures.draw_tasks(*drawing({})) is None
    other = measured("mtl_aae/table2/iemocap/aae", 8, corpus="demo")
    other = dataclasses.replace(other, run={**other.run, "synthetic": True})
    stand_in = figures.draw_tasks(*drawing({"mtl_aae/table2/iemocap/aae": other}))
    assert stand_in.axes[0].get_title() == "demo, as iemocap/emotion"
    assert "synthetic corpus" in stand_in._supxlabel.get_text()


def test_figure_3_has_points_at_the_speakers_that_were_there():
    runs = {
        f"mtl_aae/fig3/emodb/{count}": measured(
            f"mtl_aae/fig3/emodb/{count}", right, auxiliary_speakers=[there], gender_development_ua=[share]
        )
        for count, right, there, share in ((0, 4, 0, 0.5), (96, 8, 90, 0.75))
    }
    gender, speaker, emotion = figures.draw_speakers(*drawing(runs)).axes
    np.testing.assert_allclose(gender.lines[0].get_xydata(), [[0, 50], [90, 75]])
    assert not speaker.lines  # held-out speakers have no speaker class
    np.testing.assert_allclose(emotion.lines[0].get_xydata(), [[0, 50], [90, 100]])
    assert figures.draw_speakers(*drawing({})) is None


def test_a_reconstruction_is_drawn_on_its_original_scale():
    pictures = np.arange(24.0).reshape(1, 4, 6)
    figure = figures.draw_reconstructions(pictures, pictures * 2, ["one"], top_hz=8000, hop_ms=10)
    above, below = (axis.images[0] for axis in figure.axes)
    assert above.get_clim() == below.get_clim() == (0, 23)
    assert above.get_extent() == [0, pytest.approx(0.06), 0, 8]
    np.testing.assert_array_equal(below.get_array(), pictures[0] * 2)


def test_the_papers_figures_name_their_functions():
    assert [PAPER.function(figure.draw) for figure in PAPER.figures] == [figures.draw_tasks, figures.draw_speakers]
