"""Quaternion anti-transfer: the baselines on RAVDESS and TESS start from a network trained on IEMOCAP's emotions."""

import dataclasses

import numpy as np
import pytest

from common.artefacts import Artefacts
from common.contract import Context
from common.errors import UserError
from papers.quaternion_at import train, transfer
from papers.quaternion_at.experiments import PAPER
from tests.helpers.eagerly import eagerly
from tests.helpers.quaternion_at_data import part, small

eager = pytest.fixture(scope="module", autouse=True)(eagerly)


@pytest.mark.parametrize("network", ["real", "quat"])
def test_a_network_starts_from_the_one_trained_on_emotions_except_its_last_layer(network, tmp_path, monkeypatch):
    """Training is left out on the new corpus, so the weights are those it starts from."""
    config, artefacts, records = small(network, epochs=2), Artefacts(tmp_path), []

    def make(folder):
        records.append(transfer.train_emotion_network(config, part(9), folder, Context(seed=3)))
        return records[-1]

    made = artefacts.get("quaternion_at/emotions", {"config": {}}, make)
    assert records[0]["datapoints"] == [6, 2, 1] and 0 <= records[0]["accuracy"] <= 1
    assert sorted(made.files) == (["network.keras"] if network == "real" else ["encoder.keras", "network.keras"])
    monkeypatch.setattr(train, "_train_once", lambda *arguments: None)
    config = dataclasses.replace(config, transfer=made.digest)
    fitted = train.fit(config, part(6, seed=2), part(0), Context(seed=7, artefacts=artefacts))
    start, encoder = train.start_of_transfer(config, Context(artefacts=artefacts))
    for own, first in zip(fitted.vgg.weights, start.weights, strict=True):
        assert np.array_equal(own, first) == (not own.path.startswith("logits/")), own.path
    assert (fitted.encoder is None) == (encoder is None) == (network == "real")
    if encoder is not None:
        pairs = zip(fitted.encoder.get_weights(), encoder.get_weights(), strict=True)
        assert all(np.array_equal(*pair) for pair in pairs)
        plain = train.fit(small(network), part(6, seed=2), part(0), Context(seed=7))
        assert not np.array_equal(plain.encoder.get_weights()[0], encoder.get_weights()[0])  # it was trained
    with pytest.raises(UserError, match="`ser pretrain quaternion_at emotions`"):
        train.fit(config, part(6), part(0), Context(artefacts=Artefacts(tmp_path / "empty")))


def test_the_experiments_are_the_baselines_of_table_1_with_another_start():
    rows = [experiment for experiment in PAPER.experiments if experiment.table == "transfer"]
    assert {experiment.corpus for experiment in rows} == {"ravdess", "tess"} and len(rows) == 8
    for experiment in rows:
        baseline = PAPER.experiment(experiment.id.replace("/transfer/", "/table1/"))
        assert experiment.protocol == baseline.protocol
        assert dataclasses.replace(experiment.config, transfer="none") == baseline.config
    pretraining = PAPER.pretraining("emotions")
    assert (pretraining.corpus, pretraining.subset) == ("iemocap", "4class")
