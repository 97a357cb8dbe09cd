"""The data that a network is trained on, and batches of labelled and auxiliary utterances."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from common.contract import Context, Part
from papers.mtl_aae.auxiliary import hold_out
from papers.mtl_aae.config import AaeConfig
from papers.mtl_aae.data import SpectrogramImages

UNLABELLED = -1
"""Class number of an utterance without a label for a task, which its loss ignores."""


@dataclass(frozen=True)
class TrainingData:
    """The data that a network is trained and validated on.

    Attributes:
        classes: class names by task; the primary task ("emotion", whatever the target is) is the first. If the target
            is the speaker, auxiliary speakers follow those of the target's classes.
        labelled: the training part.
        labels: its class numbers by task.
        auxiliary: utterances without the primary label; None: there are none.
        auxiliary_labels: their class numbers by task.
        held_out: auxiliary utterances that are not trained on; None: there are none.
        held_out_labels: their class numbers by task.
        validation: images of the validation part (the paper's development fold); empty if there is none.
        validation_labels: its class numbers by task, `UNLABELLED` for a speaker of no training utterance.
    """

    classes: dict[str, tuple[str, ...]]
    labelled: SpectrogramImages
    labels: dict[str, np.ndarray]
    auxiliary: SpectrogramImages | None
    auxiliary_labels: dict[str, np.ndarray]
    held_out: SpectrogramImages | None
    held_out_labels: dict[str, np.ndarray]
    validation: np.ndarray
    validation_labels: dict[str, np.ndarray]


def prepare_training_data(config: AaeConfig, train: Part, validation: Part, context: Context) -> TrainingData:
    """Prepares images and class numbers of all utterances.

    A secondary task is left out if the training data have fewer than two of its classes. The context gets a flag for
    it, and one if there are fewer auxiliary speakers than the config wants.
    """
    auxiliary, held_out = context.auxiliary if config.uses_auxiliary else None, None
    if auxiliary is not None:
        speakers = auxiliary.table["speaker"].nunique()
        if speakers < config.auxiliary_speakers:
            context.flags.append(f"{speakers} of {config.auxiliary_speakers} auxiliary speakers")
        context.history["auxiliary_speakers"] = [speakers]
        if config.tasks != "emotion":
            auxiliary, held_out = hold_out(auxiliary, config.auxiliary_held_out)
    tables = {"train": train.table, "validation": validation.table}
    if auxiliary is not None:
        # Speakers of two corpora may have the same name.
        tables["auxiliary"] = _with_own_speakers(auxiliary.table)
    if held_out is not None:
        tables["held out"] = _with_own_speakers(held_out.table)
    classes = {}
    for task in config.secondary:
        columns = [table[task].dropna() for name, table in tables.items() if name in ("train", "auxiliary")]
        names = tuple(sorted(set().union(*columns)))
        if len(names) < 2:
            context.flags.append(f"without the {task} task: the training data have {len(names) or 'no'} {task}")
        else:
            classes[task] = names
    labels = {
        name: {task: class_numbers(table[task], names) for task, names in classes.items()}
        for name, table in tables.items()
    }
    primary = train.classes
    if config.tasks == "speaker" and auxiliary is not None:
        primary += tuple(sorted(set(tables["auxiliary"]["speaker"])))
    labels["train"]["emotion"] = train.labels.astype("int32")
    labelled, validation_images = SpectrogramImages(train, config), np.zeros(0)
    others = held_out_images = None
    if len(validation):
        labels["validation"]["emotion"] = validation.labels.astype("int32")
        validation_images = SpectrogramImages(validation, config, labelled.normalisation).take(range(len(validation)))
    for name in {"auxiliary", "held out"} & tables.keys():
        # Auxiliary utterances have no emotion, but a gender and a speaker.
        values = tables[name].get(config.tasks, pd.Series([None] * len(tables[name])))
        labels[name]["emotion"] = class_numbers(values, primary)
    if auxiliary is not None:
        shared = labelled.normalisation if config.auxiliary_normalisation == "shared" else None
        others = SpectrogramImages(auxiliary, config, shared)
    if held_out is not None:
        held_out_images = SpectrogramImages(held_out, config, others.normalisation)
    return TrainingData(
        {"emotion": primary, **classes},
        labelled,
        labels["train"],
        others,
        labels.get("auxiliary", {}),
        held_out_images,
        labels.get("held out", {}),
        validation_images,
        labels["validation"],
    )


def _with_own_speakers(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(speaker="auxiliary " + table["speaker"].astype("str"))


def class_numbers(values: pd.Series, names: tuple[str, ...]) -> np.ndarray:
    """The position of each value among the names, int32; `UNLABELLED` for a missing value or another name."""
    return values.map({name: number for number, name in enumerate(names)}).fillna(UNLABELLED).to_numpy("int32")


def shuffled_indices(count: int, size: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields `size` of the indices 0 ... count - 1 at a time, without end; each comes once before any comes again."""
    waiting = np.zeros(0, np.int64)
    while True:
        while len(waiting) < size:
            waiting = np.concatenate([waiting, generator.permutation(count)])
        yield waiting[:size]
        waiting = waiting[size:]


def batches(data: TrainingData, generator: np.random.Generator) -> Iterator[dict[str, np.ndarray]]:
    """Yields batches of one size without end: labelled utterances, followed by auxiliary ones.

    Args:
        data: what to make the batches of.
        generator: draws order and crops.

    Yields:
        "picture", shape (batch, rows, frames, 1); "frames", how many frames of each are speech, int32, shape (batch,);
        and class numbers by task, int32, shape (batch,).
    """
    config, labelled, auxiliary = data.labelled.config, data.labelled, data.auxiliary
    order = shuffled_indices(len(labelled), min(config.batch_size, len(labelled)), generator)
    if auxiliary is not None:
        auxiliary_order = shuffled_indices(len(auxiliary), config.auxiliary_batch_size, generator)
    while True:
        rows = next(order)
        others = next(auxiliary_order) if auxiliary is not None else rows[:0]
        picture = np.zeros((len(rows) + len(others), config.rows, config.frames, 1), np.float32)
        labelled.take(rows, generator, picture[: len(rows)])
        batch = {"picture": picture, "frames": labelled.frames(rows)}
        batch |= {task: numbers[rows] for task, numbers in data.labels.items()}
        if auxiliary is not None:
            auxiliary.take(others, generator, picture[len(rows) :])
            more = {"frames": auxiliary.frames(others)}
            more |= {task: data.auxiliary_labels[task][others] for task in data.labels}
            batch |= {name: np.concatenate([batch[name], values]) for name, values in more.items()}
        yield batch


def prefetch(batches: Iterator) -> Iterator:
    """Yields the same batches; a thread makes the next one while one is used."""
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(next, batches)
        while True:
            batch = waiting.result()
            waiting = executor.submit(next, batches)
            yield batch
