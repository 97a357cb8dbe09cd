"""What holds for every package in `papers`, also for one that is added later."""

import dataclasses
import math
import subprocess
import sys

import pytest

import data_prep
from common.artefacts import Artefacts
from common.checksums import Checksums
from common.contract import override
from common.corpus import COLUMNS
from ser.options import Options
from ser.pretrained import weights_of
from ser.registry import PAPERS, paper
from ser.resolving import ConfigResolver
from ser.results.reported import read_cells
from tests.helpers import ROOT


@pytest.fixture(params=PAPERS)
def one(request):
    return paper(request.param)


def test_experiments_name_what_exists(one):
    ids = [experiment.id for experiment in one.experiments]
    assert len(set(ids)) == len(ids)
    tables = {experiment.table for experiment in one.experiments}
    assert set(one.demo) <= tables
    for experiment in one.experiments:
        said = experiment.id
        assert said.startswith(f"{one.name}/") and len(said.split("/")) >= 4, said
        corpus = data_prep.corpus(experiment.corpus)
        subset = corpus.subset(experiment.subset)
        assert experiment.protocol.count(corpus) >= 1 and experiment.repeats >= 1, said
        assert experiment.title and experiment.protocol.name, said
        assert set(experiment.target.needs) <= set(COLUMNS), said
        assert experiment.target.dimensions or experiment.target.classes or subset.classes, said
        if experiment.auxiliary:
            name, part = experiment.auxiliary.split("/")
            assert data_prep.corpus(name).subset(part), said


def test_every_config_resolves_as_declared_and_scaled(one, tmp_path):
    config = type(one.experiments[0].config)
    fields = {item.name for item in dataclasses.fields(config)}
    assert set(one.scaled) | set(one.demo_changes) <= fields
    for scaled in (False, True):
        resolver = ConfigResolver(Options(scaled=scaled), Artefacts(tmp_path), Checksums(tmp_path))
        for experiment in one.experiments:
            resolved = resolver.config(one, experiment)
            assert type(resolved.config) is config, experiment.id
            if scaled and one.scaled:
                assert resolved.changes, experiment.id
            else:  # nothing falls back by itself: what is not here is only named
                assert resolved.config == experiment.config and not resolved.changes, experiment.id
                asked = [f"random weights: {weights.title}" for weights in weights_of(one, experiment.config)]
                assert set(resolved.flags) <= set(asked) or resolved.pretrained, experiment.id


def test_every_field_names_its_source(one):
    for item in dataclasses.fields(one.experiments[0].config):
        source = item.metadata.get("source", "")
        assert source.startswith(("Sec.", "Eq.", "Table", "not given")), f"{item.name} needs setting(default, source)"


def test_settings_are_read_as_they_are_typed(one):
    for experiment in one.experiments:
        typed = {name: str(value) for name, value in dataclasses.asdict(experiment.config).items()}
        assert override(experiment.config, typed) == experiment.config, experiment.id


def test_functions_that_are_named_exist(one):
    names = [one.features, one.fit, one.load, one.pretrained, one.cost, *(figure.draw for figure in one.figures)]
    for pretraining in one.pretrainings:
        names += [pretraining.make, pretraining.features]
        data_prep.corpus(pretraining.corpus).subset(pretraining.subset)
        fields = {item.name for item in dataclasses.fields(one.experiments[0].config)}
        assert {pretraining.field, *pretraining.matching} <= fields
    for name in names:
        if name:
            assert callable(one.function(name)), name


def test_reported_cells_fit_their_experiments(one):
    experiments = {experiment.id: experiment for experiment in one.experiments}
    cells = read_cells(one.reported)
    for cell in cells:
        if not cell.experiment:
            assert math.isfinite(cell.value), cell.cell
            continue
        experiment = experiments[cell.experiment]
        dimensions = experiment.target.dimensions
        assert cell.registered.task == ("regression" if dimensions else "classification"), cell.cell
        if dimensions:
            assert cell.labels in (*dimensions, "mean"), cell.cell
        else:
            subset = data_prep.corpus(experiment.corpus).subset(experiment.subset)
            count = len(experiment.target.classes or subset.classes)
            assert cell.labels.rstrip("abcdefghijklmnopqrstuvwxyz") == str(count), cell.cell
        assert cell.aggregation in ("folds", "pooled", "file-order"), cell.cell
    without = set(experiments) - {cell.experiment for cell in cells}
    assert not without, f"experiments that no cell of reported.csv names: {sorted(without)[:5]}"


def test_no_paper_starts_a_backend_to_name_its_extractors():
    """Features are extracted first, openSMILE must be loaded before TensorFlow, and mistakes are told at once."""
    program = (
        "import sys; from ser import registry\n"
        "for one in registry.all_papers():\n"
        "    one.function(one.features)(one.experiments[0].config)\n"
        "    print(one.name, *{'keras', 'tensorflow', 'gensim', 'opensmile'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=300, capture_output=True, text=True)
    assert done.stdout.split() == list(PAPERS), done.stderr
