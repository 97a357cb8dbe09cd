"""The figures of the adversarial autoencoder show what was measured."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from common.contract import override
from common.results import RunResults
from papers.mtl_aae.experiments import PAPER
from ser.results.comparing import compare
from ser.results.reported import read_cells
from ser.results.runs import as_record

CELLS = read_cells(PAPER.reported)
draw_tasks, draw_speakers, draw_training = (PAPER.function(figure.draw) for figure in PAPER.figures)


def drawing(runs):
    """The arguments of a figure: runs, and the comparisons of all cells."""
    return runs, compare(PAPER, CELLS, runs)


CLASSES = ["angry", "happy", "neutral", "sad"]


def measured(experiment, right, corpus="emodb", **history):
    """A run of two folds with 8 utterances each, of which the first `right` are predicted correctly."""
    trials, predictions = [], []
    for fold in ("speaker-a", "speaker-b"):
        label = CLASSES * 2
        answers = [name if k < right else CLASSES[(k + 1) % 4] for k, name in enumerate(label)]
        table = pd.DataFrame({"utterance": [f"{fold}{k}" for k in range(8)], "speaker": fold, "label": label})
        for name in CLASSES:
            table[f"p_{name}"] = [float(answer == name) for answer in answers]
        trials.append({"fold": fold, "repeat": 1, "flags": [], "audit": {}, "history": history})
        predictions.append(table)
    declared = PAPER.experiment(experiment)
    run = {
        "experiment": experiment, "corpus": corpus, "subset": declared.subset, "classes": CLASSES, "dimensions": [],
        "config": dataclasses.asdict(override(declared.config, PAPER.scaled)), "target": as_record(declared.target),
        "protocol": as_record(declared.protocol), "folds": ["speaker-a", "speaker-b"], "declared_repeats": 1,
        "synthetic": False, "flags": ["without auxiliary data: librispeech is not here"],
    }  # fmt: skip
    return RunResults(run, trials, predictions)


def test_figure_2_has_one_bar_for_each_network_that_was_run():
    runs = {
        "mtl_aae/fig2/emodb/cnn-single": measured("mtl_aae/fig2/emodb/cnn-single", 4),
        "mtl_aae/fig2/emodb/cnn-multi": measured("mtl_aae/fig2/emodb/cnn-multi", 8),
        "mtl_aae/fig2/emodb/aae-multi": measured("mtl_aae/fig2/emodb/aae-multi", 6),
    }
    figure = draw_tasks(*drawing(runs))
    (axis,) = figure.axes
    # 4, 8 and 6 of 8 are correct, which are UAs of 50, 100 and 75.
    bars = {round(bar.get_x() + bar.get_width() / 2, 2): bar.get_height() for bar in axis.patches}
    assert bars == pytest.approx({-0.2: 50, 0.2: 100, 1.2: 75})
    assert [label.get_text() for label in axis.get_xticklabels()] == ["CNN", "AAE"]
    assert axis.get_title() == "EMODB emotion"
    note = figure._supxlabel.get_text()
    assert "scaled" in note and "without auxiliary data" in note and "synthetic" not in note
    assert "incomplete" not in note
    part = runs["mtl_aae/fig2/emodb/cnn-single"]
    part = RunResults(part.run, part.trials[:1], part.predictions[:1])
    only = draw_tasks(*drawing({"mtl_aae/fig2/emodb/cnn-single": part}))
    assert "incomplete" in only._supxlabel.get_text()
    assert draw_tasks(*drawing({})) is None
    other = measured("mtl_aae/table2/iemocap/aae", 8, corpus="demo")
    other = dataclasses.replace(other, run={**other.run, "synthetic": True})
    on_demo = draw_tasks(*drawing({"mtl_aae/table2/iemocap/aae": other}))
    assert on_demo.axes[0].get_title() == "demo, as iemocap/emotion"
    assert "synthetic" in on_demo._supxlabel.get_text()


def test_figure_3_has_points_at_the_available_numbers_of_speakers():
    runs = {
        f"mtl_aae/fig3/emodb/{count}": measured(
            f"mtl_aae/fig3/emodb/{count}", right, auxiliary_speakers=[there], gender_development_ua=[share]
        )
        for count, right, there, share in ((0, 4, 0, 0.5), (96, 8, 90, 0.75))
    }
    gender, speaker, emotion = draw_speakers(*drawing(runs)).axes
    np.testing.assert_allclose(gender.lines[0].get_xydata(), [[0, 50], [90, 75]])
    assert not speaker.lines  # held-out speakers have no speaker class
    np.testing.assert_allclose(emotion.lines[0].get_xydata(), [[0, 50], [90, 100]])
    assert draw_speakers(*drawing({})) is None


def test_the_figure_of_the_training_has_the_means_over_trials():
    def run(name, **history):
        made = measured(name, 4, **history)
        made.trials[1] = {**made.trials[1], "history": {key: values[:1] for key, values in history.items()}}
        return made  # the second trial stopped after the first epoch

    runs = {
        "mtl_aae/fig2/emodb/cnn-multi": run("mtl_aae/fig2/emodb/cnn-multi", emotion=[1.0, 0.5]),
        "mtl_aae/fig2/emodb/ae-multi": run("mtl_aae/fig2/emodb/ae-multi", prior_distance=[0.5, 0.4]),
        "mtl_aae/fig2/emodb/aae-multi": run(
            "mtl_aae/fig2/emodb/aae-multi", prior_distance=[0.5, 0.1], discriminator_accuracy=[0.75, 0.5],
            gradient_share_reconstruction=[0.2, 0.4], gradient_share_generator=[0.3, 0.5],
        ),
    }  # fmt: skip
    axes = np.reshape(draw_training(*drawing(runs)).axes, (2, 3))
    assert [axis.get_ylabel() for axis in axes[:, 0]] == ["fig2/emodb/ae-multi", "fig2/emodb/aae-multi"]
    assert not axes[0, 1].lines and [text.get_text() for text in axes[0, 1].texts] == ["no discriminator"]
    shares = {line.get_label(): line.get_xydata().tolist() for line in axes[1, 0].lines}
    assert shares == {"reconstruction": [[1, 0.2], [2, 0.4]], "generator": [[1, 0.3], [2, 0.5]]}
    assert axes[1, 1].lines[0].get_ydata().tolist() == [0.75, 0.5]
    assert axes[1, 2].lines[0].get_ydata().tolist() == [0.5, 0.1]
    assert draw_training(*drawing({})) is None
