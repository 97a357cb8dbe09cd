"""Whether a fit is sound: a diverged one is refused, a suspicious one is flagged."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from common.contract import Context
from common.errors import UserError

ADVICE = "Lower the learning rate or use float32; the trial was not written."


def refuse_divergence(
    trial: str, fitted: Any, history: Mapping[str, Sequence[float]], columns: Mapping[str, np.ndarray]
) -> None:
    """Refuses a fit that has diverged.

    Args:
        trial: the trial, for the message.
        fitted: the fitted model, whose attributes hold its networks.
        history: values over epochs, by name (`common.contract.Context.history`).
        columns: its predictions of the test part.

    Raises:
        UserError: The last value of a loss, a weight or a prediction is not a finite number.
    """
    for name, values in history.items():
        if _is_loss(name) and values and not np.isfinite(values[-1]):
            raise UserError(f"{trial}: training diverged: '{name}' is {values[-1]} after the last epoch. {ADVICE}")
    for network in networks(fitted):
        for weight in network.weights:
            if not np.isfinite(np.asarray(weight)).all():
                raise UserError(
                    f"{trial}: training diverged: {weight.path} holds values that are not finite numbers. {ADVICE}"
                )
    if not all(np.isfinite(values).all() for values in columns.values()):
        raise UserError(f"{trial}: training diverged: the predictions are not finite numbers. {ADVICE}")


def suspicions(
    history: Mapping[str, Sequence[float]], columns: Mapping[str, np.ndarray], classes: Sequence[str]
) -> list[str]:
    """Flags for a training loss that never fell and for predictions that are all the same.

    Args:
        history: values over epochs, by name.
        columns: predictions of the test part, one value per utterance.
        classes: classes of a classification; empty for a regression.
    """
    flags = [
        f"the training loss never fell ('{name}', {len(values)} epochs)"
        for name, values in history.items()
        if name.split("/")[-1] == "loss" and len(values) > 1 and min(values[1:]) >= values[0]
    ]
    if classes:
        predicted = np.stack([columns[f"p_{name}"] for name in classes], axis=1).argmax(axis=1)
        if len(predicted) > 1 and (predicted == predicted[0]).all():
            flags.append(f"constant predictions: {classes[predicted[0]]} for all {len(predicted)} test utterances")
    for name, values in columns.items():
        if name.startswith("predicted_") and len(values) > 1 and np.ptp(values) == 0:
            flags.append(f"constant predictions: the same {name.removeprefix('predicted_')} for all test utterances")
    return flags


def networks(holder: Any) -> Iterator[Any]:
    """All Keras models that an object holds, also in lists, tuples, dictionaries and dataclasses."""
    keras = sys.modules.get("keras")
    if keras is None:  # a paper without Keras has no Keras models
        return
    if isinstance(holder, keras.Model):
        yield holder
    elif isinstance(holder, dict):
        for one in holder.values():
            yield from networks(one)
    elif isinstance(holder, (list, tuple)):
        for one in holder:
            yield from networks(one)
    elif dataclasses.is_dataclass(holder) and not isinstance(holder, Context):  # which holds data, but no networks
        for field in dataclasses.fields(holder):
            yield from networks(getattr(holder, field.name, None))


def parameters(holder: Any) -> int | None:
    """How many numbers the Keras models of an object hold, each weight counted once; None if it holds no model."""
    models = list(networks(holder))
    sizes = {id(weight): math.prod(weight.shape) for network in models for weight in network.weights}
    return sum(sizes.values()) if models else None


def _is_loss(name: str) -> bool:
    return "loss" in name and "validation" not in name
