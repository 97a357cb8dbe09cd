"""Floating-point operations of whatever Keras computes, counted at its products: a multiplication and an addition each.

`keras.ops`' convolutions and matrix products are watched while a function runs eagerly; an LSTM is counted by its
formula and not run, since a loop over time would take minutes. All else (activations, normalisation, losses) is left
out: it is a hundredth of a network's operations.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass
class Count:
    """What was computed.

    Attributes:
        flop: operations.
        serial: products that wait for one another: one a product, a step of time for an LSTM.
    """

    flop: float = 0.0
    serial: int = 0

    def add(self, flop: float, serial: int = 1) -> None:
        """Counts a product."""
        self.flop += flop
        self.serial += serial


def counted(action: Callable[[], object]) -> Count:
    """Runs an action and counts its products."""
    count = Count()
    with _watched(count):
        action()
    return count


def _matmul(count: Count, result, first, second) -> None:
    count.add(2 * math.prod(result.shape) * first.shape[-1])


def _conv(count: Count, result, inputs, kernel) -> None:
    # A kernel's third dimension is the channels of a group, so groups need no care.
    count.add(2 * math.prod(result.shape) * math.prod(kernel.shape[:-1]))


def _conv_transpose(count: Count, result, inputs, kernel) -> None:
    count.add(2 * math.prod(inputs.shape) * math.prod(kernel.shape[:-1]))


PRODUCTS = {"matmul": _matmul, "conv": _conv, "conv_transpose": _conv_transpose}


@contextlib.contextmanager
def _watched(count: Count) -> Iterator[None]:
    import keras
    from keras.src import ops

    def watching(product, tell):
        def watched(first, second, *arguments, **keywords):
            result = product(first, second, *arguments, **keywords)
            tell(count, result, first, second)
            return result

        return watched

    def lstm(layer, sequences, *arguments, **keywords):
        batch, steps, width = sequences.shape
        count.add(2 * batch * steps * 4 * layer.units * (width + layer.units), serial=steps)
        shape = (batch, steps, layer.units) if layer.return_sequences else (batch, layer.units)
        return keras.ops.zeros(shape)

    with contextlib.ExitStack() as stack:
        for name, tell in PRODUCTS.items():
            for module in {keras.ops, ops}:
                original = getattr(module, name)
                setattr(module, name, watching(original, tell))
                stack.callback(setattr, module, name, original)
        original = keras.layers.LSTM.call
        keras.layers.LSTM.call = lstm
        stack.callback(setattr, keras.layers.LSTM, "call", original)
        yield
