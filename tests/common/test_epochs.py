"""`train_epochs`: all batches of an epoch are used, also if their number changes."""

import keras
import numpy as np

from common.contract import Context
from common.training import BestEpoch, data_parallel, train_epochs


class Batches(keras.utils.PyDataset):
    def __init__(self, sizes, seen):
        super().__init__()
        self.sizes, self.seen = sizes, seen

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, number):
        self.seen.add(number)
        x = np.ones((self.sizes[number], 1), np.float32)
        return x, np.zeros((len(x), 1), np.float32)


def trained(plans, score=None, patience=9, epochs=None):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    context = Context()
    seen = [set() for _ in plans]
    train_epochs(
        model,
        lambda epoch: Batches(plans[epoch], seen[epoch]),
        epochs or len(plans),
        BestEpoch(score, patience, context),
    )
    return model, context, seen


def test_an_epoch_has_as_many_steps_as_its_own_batches():
    model, context, seen = trained([[2, 3], [1, 2, 4, 5], [3]])
    assert seen == [{0, 1}, {0, 1, 2, 3}, {0}]
    # Each of the seven steps changes w to w - 0.1 * 2 w = 0.8 w.
    np.testing.assert_allclose(model.get_weights()[0], 0.8**7, rtol=1e-5)
    assert len(context.history["loss"]) == 3


def test_the_best_epoch_is_restored_and_patience_stops_training():
    scores = iter([0.1, 0.9, 0.3, 0.2, 0.5])
    model, context, seen = trained([[1]] * 5, score=lambda: next(scores), patience=2)
    assert context.history["validation"] == [0.1, 0.9, 0.3, 0.2] and seen[4] == set()
    np.testing.assert_allclose(model.get_weights()[0], 0.8**2, rtol=1e-5)


def test_on_one_device_nothing_changes():
    with data_parallel() as devices:
        assert devices == 1
