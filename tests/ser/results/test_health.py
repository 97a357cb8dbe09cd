import dataclasses
from collections.abc import Mapping

import keras
import numpy as np
import pytest

from common.contract import Context, Part
from common.errors import UserError
from ser.results import health

FINE = {"p_a": np.array([0.9, 0.2]), "p_b": np.array([0.1, 0.8])}


@dataclasses.dataclass
class Fitted:
    parts: dict
    name: str = "anything"


def fitted(*values):
    """A fitted model with networks in a nested list, one weight each."""
    networks = []
    for value in values:
        network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
        network.set_weights([np.full((1, 1), value)])
        networks.append(network)
    return Fitted({"networks": [(networks[0], None), *networks[1:]]})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_named_wherever_the_network_is(value):
    assert len(list(health.networks(fitted(1.0, 2.0)))) == 2
    health.refuse_divergence("t", fitted(1.0, 2.0), {}, FINE)
    with pytest.raises(UserError, match=r"t: training diverged: .*kernel holds values that are not finite"):
        health.refuse_divergence("t", fitted(1.0, value), {}, FINE)


def test_data_that_a_fitted_model_can_reach_are_not_read():
    class Unread(Mapping):
        def __getitem__(self, utterance):
            raise AssertionError("features were read")

        def __iter__(self):
            return iter(["u"])

        def __len__(self):
            return 1

    holder = fitted(1.0)
    holder.parts |= {"features": Unread(), "context": Context(auxiliary=Part(None, {"spectrogram": Unread()}, ()))}
    assert len(list(health.networks(holder))) == 1


def test_the_last_loss_and_the_predictions_must_be_finite():
    health.refuse_divergence("t", None, {"loss": [np.nan, 1.0], "validation": [1.0, np.nan]}, FINE)
    for name in ("loss", "stage2/loss", "emotion_loss"):
        with pytest.raises(UserError, match=f"'{name}' is nan after the last epoch"):
            health.refuse_divergence("t", None, {name: [1.0, np.nan]}, FINE)
    with pytest.raises(UserError, match="the predictions are not finite"):
        health.refuse_divergence("t", None, {}, {"p_a": np.array([0.5, np.inf])})


def test_what_is_suspicious_is_flagged_and_what_is_not_is_not():
    assert health.suspicions({"loss": [1.0, 0.9, 1.2], "adversarial_loss": [1.0, 2.0]}, FINE, ("a", "b")) == []
    assert health.suspicions({"loss": [1.0]}, {"predicted_valence": np.array([1.0])}, ()) == []
    assert health.suspicions({"stage1/loss": [1.0, 1.0, 1.1]}, FINE, ("a", "b")) == [
        "the training loss never fell ('stage1/loss', 3 epochs)"
    ]
    constant = {"p_a": np.array([0.9, 0.6]), "p_b": np.array([0.1, 0.4])}
    assert health.suspicions({}, constant, ("a", "b")) == ["constant predictions: a for all 2 test utterances"]
    rated = {"predicted_valence": np.array([2.0, 2.0]), "predicted_arousal": np.array([2.0, 2.5])}
    assert health.suspicions({}, rated, ()) == ["constant predictions: the same valence for all test utterances"]
