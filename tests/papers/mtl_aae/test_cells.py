"""Experiments and reported cells of the adversarial autoencoder, compared with the paper."""

import math
import re
import statistics
from collections import Counter

import pytest

import data_prep
from papers.mtl_aae.experiments import PAPER
from ser.results.reported import read_cells

CELLS = read_cells(PAPER.reported)
PRINTED = [cell for cell in CELLS if not math.isnan(cell.value)]


def value(cell):
    return next(one.value for one in CELLS if one.cell == cell)


def test_all_numbers_of_the_tables_are_reported():
    # Table II: 3 own and 2 quoted rows on IEMOCAP, 3 and 1 on MSP-IMPROV; in its lower half 2 own and 3 quoted.
    # Table III: 3 x 4. Table IV: 3 x 4, twice.
    assert Counter(cell.table for cell in PRINTED) == {"2": 9, "2-5fold": 5, "3": 12, "4": 24}
    quoted = [cell for cell in CELLS if not cell.experiment]
    assert len(quoted) == 6 and all("peer" in cell.note for cell in quoted)


def test_means_of_the_printed_tables():
    """The means are added up from the paper, so a mistyped digit changes them."""
    for prefix, mean in {
        "table2/iemocap/": (65.7 + 61.7 + 65.61 + 66.27 + 68.54) / 5,
        "table2/msp_improv/": (60.5 + 59.31 + 60.89 + 63.81) / 4,
        "table2-5fold/": (62.81 + 64.22 + 62.2 + 66.49 + 61.74) / 5,
        "table3/iemocap/": 68.38833,
        "table3/msp_improv/": 63.19167,
        "table4/iemocap/": 62.36333,
        "table4/msp_improv/": 54.515,
    }.items():
        values = [cell.value for cell in PRINTED if cell.cell.startswith(prefix)]
        assert statistics.mean(values) == pytest.approx(mean, abs=1e-3), prefix


def test_repeated_numbers_agree_between_tables():
    for corpus in ("iemocap", "msp_improv"):
        assert value(f"table3/{corpus}/both/ua") == value(f"table2/{corpus}/aae/ua")
        both = [cell for cell in CELLS if cell.cell == f"table3/{corpus}/both/ua"]
        assert both[0].experiment == f"mtl_aae/table2/{corpus}/aae"


def test_both_secondary_tasks_are_the_best_row_of_tables_3_and_4():
    for corpus in ("iemocap", "msp_improv"):
        rows = [f"table3/{corpus}/{{}}/{metric}" for metric in ("wa", "ua")]
        rows += [f"table4/{corpus}/{name}-{{}}/ua" for name in ("activation", "valence", "clusters3", "clusters5")]
        for row in rows:
            assert value(row.format("both")) > max(value(row.format(task)) for task in ("gender", "speaker"))


def test_cells_name_the_labels_that_their_experiment_predicts():
    for cell in CELLS:
        if cell.experiment:
            classes = PAPER.experiment(cell.experiment).target.classes
            kinds = "class|levels|clusters" if classes else "class"
            assert re.fullmatch(rf"{len(classes) or 4}({kinds})", cell.labels), cell.cell
            assert cell.function in ("wa", "ua") and cell.function in cell.column.lower(), cell.cell
            assert cell.aggregation == "folds", cell.cell


def test_experiments_have_the_papers_corpora_and_folds():
    assert len(PAPER.experiments) == 118 + 2 * (6 + 6 + 4)
    for experiment in PAPER.experiments:
        name = experiment.id
        corpus = data_prep.corpus(experiment.corpus)
        expected = {"iemocap": 5531, "msp_improv": 7798, "emodb": 339}[corpus.name]
        assert corpus.subset(experiment.subset).expected == expected, name
        assert experiment.title.startswith(("IEMOCAP", "MSP-IMPROV", "EMODB")), name
        folds = experiment.protocol.count(corpus)
        person = experiment.config.tasks in ("gender", "speaker")
        if name.endswith("-apart") or (corpus.name == "emodb" and not person):
            assert experiment.protocol.name == "leave one speaker out" and folds == corpus.speakers, name
        else:
            assert experiment.protocol.by == "speaker" and experiment.protocol.validation == "fold", name
            assert folds == (5 if experiment.table == "2-5fold" else 10), name
        single_task_cnn = experiment.config.model == "cnn" and experiment.config.tasks == "emotion"
        without = single_task_cnn or experiment.config.auxiliary_share == 0
        assert experiment.auxiliary.split("/")[0] == ("" if without else "librispeech"), name


def test_speaker_independent_experiments_differ_only_in_the_protocol():
    independent = [experiment for experiment in PAPER.experiments if experiment.id.endswith("-apart")]
    assert len(independent) == 2 * (3 + 2 + 12)  # Tables II, III (its last row is Table II's) and IV
    for other in independent:
        row = PAPER.experiment(other.id.removesuffix("-apart"))
        for name in ("corpus", "subset", "config", "target", "auxiliary", "repeats"):
            assert getattr(other, name) == getattr(row, name)
        assert other.protocol != row.protocol


def test_figure_3_has_the_expected_numbers_of_speakers():
    for corpus, counts in {"iemocap": (0, 100, 200, 400, 600, 800), "emodb": (0, 24, 48, 96)}.items():
        for count in counts:
            config = PAPER.experiment(f"mtl_aae/fig3/{corpus}/{count}").config
            assert config.auxiliary_share == (0.5 if count else 0)
            assert config.auxiliary_speakers == (count or 500) and config.tasks == "all"


def test_figures_3a_and_3b_predict_gender_and_speaker_alone():
    for corpus, count in (("iemocap", 10), ("msp_improv", 12), ("emodb", 10)):
        for task, classes in (("gender", 2), ("speaker", count)):
            experiment = PAPER.experiment(f"mtl_aae/fig3/{corpus}/{task}-0")
            assert len(experiment.target.classes) == classes and experiment.target.needs == (task,)
            assert experiment.config.tasks == task and not experiment.config.secondary
            assert classes == data_prep.corpus(corpus).speakers or task == "gender"
    assert PAPER.experiment("mtl_aae/fig3/iemocap/gender-600").config.auxiliary_speakers == 600
