import keras
import numpy as np
import pytest

from common.errors import UserError
from common.models.checkpoint import StoredWeight, assign_weights, copy_weights, require_files
from common.models.vgg16 import vgg16


def small(classes, channels=4):
    return vgg16((32, 32, channels), classes, width=1 / 16, initializer="he")


def test_weights_are_copied_by_the_names_of_layers():
    keras.utils.set_random_seed(0)
    source, target = small(3), small(7)
    before = target.get_layer("logits").get_weights()
    copy_weights(source, target, leave_out=["logits"])
    for name in (*(f"conv{number}" for number in range(1, 14)), "dense1", "dense2"):
        for one, two in zip(source.get_layer(name).get_weights(), target.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)
    for one, two in zip(before, target.get_layer("logits").get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_weights_that_do_not_fit_are_not_copied():
    source, target = small(3), small(7)
    before = target.get_weights()
    with pytest.raises(UserError, match="Layer logits has weights of shape"):
        copy_weights(source, target)
    foreign = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="other")], name="foreign")
    with pytest.raises(UserError, match=r"The weights of conv1, .* are not in foreign; it has other"):
        copy_weights(foreign, target)
    with pytest.raises(UserError, match="The weights of any layer are not in foreign"):
        copy_weights(foreign, foreign, leave_out=["other"])
    for one, two in zip(before, target.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_tensors_are_assigned_and_transposed():
    weights = {
        "a": StoredWeight(keras.Variable(np.zeros((2, 3))), (3, 2), transposed=True),
        "b": StoredWeight(keras.Variable(np.zeros((2, 2))), (4,)),
        "c": StoredWeight(keras.Variable(np.zeros(1)), (1,)),
    }
    tensors = {"b": np.arange(4.0), "a": np.arange(6.0).reshape(3, 2)}
    assign_weights(weights, tensors, "no", optional=("c",))
    np.testing.assert_array_equal(weights["a"].weight, tensors["a"].T)
    np.testing.assert_array_equal(weights["b"].weight, [[0, 1], [2, 3]])
    np.testing.assert_array_equal(weights["c"].weight, [0])


def test_the_first_three_problems_are_named_and_nothing_is_assigned():
    weights = {name: StoredWeight(keras.Variable(np.zeros(2)), (2,)) for name in "abcde"}
    tensors = {"a": np.ones(2), "b": np.ones(3), "f": np.ones(2)}
    with pytest.raises(UserError, match=r"^wrong file: c is missing; d is missing; e is missing and 2 more\.$"):
        assign_weights(weights, tensors, "wrong file")
    with pytest.raises(UserError, match=r"f is not known; b has the shape \(3,\) instead of \(2,\)\.$"):
        assign_weights({name: weights[name] for name in "ab"}, tensors, "wrong file")
    np.testing.assert_array_equal(weights["a"].weight, [0, 0])


def test_a_missing_file_is_named(tmp_path):
    (tmp_path / "one").touch()
    require_files(tmp_path, ["one"], "a checkpoint", "it")
    with pytest.raises(UserError, match=r"is not a checkpoint: it holds no two\. `ser fetch it` puts one in place"):
        require_files(tmp_path, ["one", "two"], "a checkpoint", "it")
