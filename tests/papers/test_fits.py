"""What holds for the `fit` of every paper: the seed decides the result, and settings without effect have none."""

import dataclasses
import functools
import typing

import keras
import numpy as np
import pytest

from common.contract import Context
from papers.dimensional_mtl import train as dimensional_mtl
from papers.dimensional_mtl.config import DimensionalConfig
from papers.gmp_atl import train as gmp_atl
from papers.mtap import train as mtap
from papers.mtap.experiments import PAPER as MTAP
from papers.mtl_aae import train as mtl_aae
from papers.quaternion_at import train as quaternion_at
from tests.helpers import aae, dimensional, gmp_atl_data, mtap_data, quaternion_at_data
from tests.helpers.eagerly import eagerly

eager = pytest.fixture(eagerly, autouse=True)

FITS = {
    "mtap": (mtap.fit, mtap_data.part),
    "dimensional_mtl": (dimensional_mtl.fit, dimensional.part),
    "gmp_atl": (gmp_atl.fit, gmp_atl_data.part),
    "mtl_aae": (mtl_aae.fit, aae.part),
    "quaternion_at": (quaternion_at.fit, quaternion_at_data.part),
}


def mtap_config(row="table1/emodb/softmax", **changes):
    small = {"backbone": "small_cnn", "weights": "random", "learning_rate": 1e-2}
    return dataclasses.replace(
        mtap_data.reduced(MTAP.experiment(f"mtap/{row}").config, bins=24), **{**small, **changes}
    )


def dimensional_config(**changes):
    return dimensional.reduced(DimensionalConfig(), **changes)


CONFIGS = {
    "mtap softmax": mtap_config(),
    "mtap focal": mtap_config("table1/emodb/focal"),
    "mtap arcface with text": mtap_config("table1/emodb/arcface", image=False, text=True),
    "dimensional_mtl acoustic": dimensional_config(modality="acoustic", weighting="none"),
    "dimensional_mtl text": dimensional_config(modality="text", text_network="cnn"),
    "dimensional_mtl lld": dimensional_config(level="lld", weighting="three", acoustic_network="dense"),
    "gmp_atl": gmp_atl_data.reduced(pseudo_labels=False, loss="ce", hubert_dropout=0.1, longest_s=0.15),
    "gmp_atl frozen": gmp_atl_data.reduced(
        tune="none", pseudo_labels=False, plain_start="stage1", head_learning_rate=1e-3, longest_s=0.15
    ),
    "mtl_aae cnn": aae.small(model="cnn", tasks="emotion"),
    "mtl_aae ae": aae.small(model="ae", auxiliary_share=0.0),
    "quaternion_at": quaternion_at_data.small(),
}

TEXTS = {
    "bert": "random", "vggish": "random", "vectors": "nowhere.txt", "grid": "0.3", "clusters": "4,7",
    "label_weights": "2,1", "alpha_grid": "0.3", "at_layers": "3", "speakers": "random", "words": "random",
    "alignments": "nowhere", "vggish_pca": "nowhere", "prior": "uniform",
    "gamma_grid": "0.3", "margin_grid": "0.3",
}  # fmt: skip
"""Other values of fields that hold any text, or not any text."""


def predictions(name, config, seed=1, before=0):
    """Predictions of a fit, after other random numbers were drawn."""
    return together_and_alone(name, config, seed, before)[0]


@functools.cache
def together_and_alone(name, config, seed=1, before=0):
    """Predictions of a fit for four utterances together, and for each of them alone."""
    fit, part = FITS[name.split()[0]]
    if name.startswith("gmp_atl"):
        part = functools.partial(part, longest=2500)
    keras.utils.set_random_seed(before)
    context = Context(seed=seed, auxiliary=aae.auxiliary() if name.startswith("mtl_aae") else None)
    fitted = fit(config, part(6), part(2, seed=1), context)
    test = part(4, seed=2).without_labels()
    together = [fitted.predict(test)]
    alone = [fitted.predict(test.take([utterance])) for utterance in test.table["utterance"]]
    return tuple(np.stack([np.ravel([one[name] for one in way]) for name in way[0]]) for way in (together, alone))


@pytest.mark.parametrize("name", FITS)
def test_an_answer_does_not_depend_on_the_other_utterances(name):
    config = next(config for title, config in CONFIGS.items() if title.split()[0] == name)
    together, alone = together_and_alone(name, config)
    np.testing.assert_allclose(alone, together, rtol=1e-3, atol=1e-5)


def other_value(config, field):
    """Another value that a field can have."""
    value, hint = getattr(config, field), typing.get_type_hints(type(config))[field]
    if field in TEXTS:
        return TEXTS[field]
    if typing.get_origin(hint) is typing.Literal:
        return next(option for option in typing.get_args(hint) if option != value)
    if isinstance(value, bool):
        return not value
    return {int: lambda: value + 1, float: lambda: value / 2 + 0.1}[type(value)]()


@pytest.mark.parametrize("name", FITS)
def test_the_seed_of_the_context_decides_the_result(name):
    config = next(config for title, config in CONFIGS.items() if title.split()[0] == name)
    first, again = predictions(name, config), predictions(name, config, before=2)
    np.testing.assert_allclose(again, first, rtol=1e-4, atol=1e-6)
    assert np.abs(predictions(name, config, seed=2) - first).max() > 1e-4


@pytest.mark.parametrize("name", CONFIGS)
def test_fields_without_effect_have_none(name):
    config = CONFIGS[name]
    idle = sorted(config.without_effect)
    assert idle
    changed = {field: other_value(config, field) for field in idle}
    if {"clusters", "label_weights"} <= changed.keys():
        changed["label_weights"] = "2,1"  # one for each label set
    found = predictions(name, dataclasses.replace(config, **changed))
    np.testing.assert_allclose(found, predictions(name, config), rtol=1e-4, atol=1e-6, err_msg=str(changed))


def test_fields_that_a_setting_switches_on_have_an_effect():
    """The opposite: each field is without effect only where it is not used."""
    assert {"gamma", "margin", "scale"} <= CONFIGS["mtap softmax"].without_effect
    assert not {"gamma", "margin", "scale"} & mtap_config("table1/emodb/apfl").without_effect
    assert {"alpha", "beta", "gamma"} <= CONFIGS["dimensional_mtl acoustic"].without_effect
    assert CONFIGS["dimensional_mtl acoustic"].without_effect >= {"vectors", "text_network", "fusion_dropout"}
    assert CONFIGS["gmp_atl frozen"].without_effect >= {"plain_start", "epochs1", "learning_rate", "stage2_start"}
    for name, field, value in (
        ("mtap focal", "gamma", 3.0),
        ("mtap arcface with text", "margin", 1.5),
        ("dimensional_mtl lld", "gamma", 5.0),
        ("dimensional_mtl text", "text_dropout", 0.9),
        ("gmp_atl", "lstm_units", 5),
        ("gmp_atl", "tune", "none"),
        ("gmp_atl", "head_learning_rate", 0.01),
        ("mtl_aae ae", "distance", "absolute"),
        ("quaternion_at", "dropout", 0.1),
    ):
        config = CONFIGS[name]
        assert field not in config.without_effect
        changed = predictions(name, dataclasses.replace(config, **{field: value}))
        assert np.abs(changed - predictions(name, config)).max() > 1e-6, (name, field)
