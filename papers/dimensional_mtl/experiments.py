"""The rows of Tables 3 to 6, the points of Figures 4 to 6, and versions without choices on the test part."""

from __future__ import annotations

import dataclasses

from common.contract import Experiment, Figure, Paper, PretrainedWeights
from common.splits import FixedTestSession
from common.targets import Dimensions
from papers.dimensional_mtl.config import DIMENSIONS, SCALED, DimensionalConfig

REPEATS = 20
"""Sec. IV-B: each bimodal pair was run 20 times. Tables 3 and 4 and the figures report one run."""

PAPER_SPLIT = FixedTestSession()
"""Sec. VI-A: 7869 utterances to train on, of which the last 1573 validate; Session 5 to test on."""

SESSION_VALIDATES = FixedTestSession(validation="session")
"""The same test part; Session 4 validates, so the network is not trained on validation speakers."""

NETWORKS = {"lstm": "LSTM", "cnn": "CNN", "dense": "Dense"}
FEATURES = {"paa-lld": "pAA LLD", "paa-hsf": "pAA HSF", "gemaps-lld": "GeMAPS LLD", "gemaps-hsf": "GeMAPS HSF"}
WORDS = {"we": "WE", "glove": "GloVe", "fasttext": "FastText"}
PAIRS = (
    ("lstm", "lstm"), ("lstm", "cnn"), ("cnn", "lstm"), ("cnn", "cnn"),
    ("lstm", "dense"), ("cnn", "dense"), ("dense", "lstm"), ("dense", "cnn"),
)  # fmt: skip
"""Acoustic and text network of each row of Table 5, in the table's order."""

HIGHEST_KEPT = (("lstm", "cnn"), ("lstm", "dense"), ("cnn", "dense"))
"""Pairs whose published scripts keep the epoch with the highest validation loss."""

WEIGHTINGS = {
    "none": ("No parameter", {}),
    "two": ("Two parameters", {"alpha": 0.7, "beta": 0.2}),
    "three": ("Three parameters", {"alpha": 0.9, "beta": 0.9, "gamma": 0.2}),
}
"""Title and loss weights (Sec. VI-C.2) of each row of Table 6."""

ACOUSTIC = {"modality": "acoustic", "alpha": 0.1, "beta": 0.5, "acoustic_dropout": 0.3}
"""Settings of the acoustic networks: dropout (Sec. IV-A) and loss weights (Sec. VI-C.2)."""

TEXT = {"modality": "text", "alpha": 0.7, "beta": 0.2, "text_dropout": 0.3}
"""Settings of the text networks: dropout (Sec. IV-A) and loss weights (Sec. VI-C.2)."""

TENTHS = tuple(number / 10 for number in range(11))


def _row(table: str, row: str, title: str, repeats: int, protocol=PAPER_SPLIT, **settings) -> Experiment:
    return Experiment(
        id=f"dimensional_mtl/{table}/iemocap/{row}",
        title=title,
        corpus="iemocap",
        subset="vad",
        protocol=protocol,
        config=DimensionalConfig(**settings),
        repeats=repeats,
        target=Dimensions(DIMENSIONS),
    )


def _variant(experiment: Experiment, row: str, title: str, protocol=PAPER_SPLIT, **settings) -> Experiment:
    """The experiment with other settings; `row` and `title` are appended to its id and its title."""
    return dataclasses.replace(
        experiment,
        id=f"{experiment.id}-{row}",
        title=f"{experiment.title}, {title}",
        protocol=protocol,
        config=dataclasses.replace(experiment.config, **settings),
    )


def _chosen_on_validation(experiment: Experiment, choose: str, **settings) -> Experiment:
    """The experiment with weights or dropout chosen on validation speakers instead of on the test part."""
    title = f"{choose} chosen on validation"
    return _variant(experiment, f"chosen-{choose}", title, SESSION_VALIDATES, choose=choose, **settings)


def _standardised(experiment: Experiment) -> Experiment:
    """The experiment with standardised acoustic features, which the paper's text excludes."""
    return _variant(experiment, "standardised", "standardised features", standardisation="training")


CODE = {"seed": 1234, "text_length": 554, "activation": "relu"}
"""What all published scripts have in common."""

CODE_LLD_CNN = {"scrambled": True, "standardisation": "padded"}

CODE_OF_ROWS = {
    "lstm-paa-lld": {"integers": True},
    "lstm-paa-hsf": {"functionals": "nonzero", "acoustic_dropout": 0.4},
    "lstm-gemaps-lld": {"gemaps_set": "eGeMAPSv01a"},
    "lstm-gemaps-hsf": {"gemaps_set": "eGeMAPSv01a", "functionals": "nonzero", "silence": True},
    "cnn-paa-lld": {"integers": True, **CODE_LLD_CNN},
    "cnn-paa-hsf": {"functionals": "nonzero"},
    "cnn-gemaps-lld": {"gemaps_set": "eGeMAPSv01a", **CODE_LLD_CNN},
    "cnn-gemaps-hsf": {"gemaps_set": "eGeMAPSv01a", "functionals": "nonzero", "silence": True},
    "lstm-fasttext": {"words": "fasttext-subword"},
    "cnn-fasttext": {"words": "fasttext-subword"},
}
"""What the published scripts of Tables 3 and 4 do that the paper does not say. Those of pAA HSF with the CNN, of WE
with the CNN and of CNN + CNN (Table 5) are published as backup copies only."""

CODE_OF_PAIRS = {
    **{pair: {"keep": "highest"} for pair in HIGHEST_KEPT},
    ("cnn", "dense"): {"keep": "highest", "patience": 20},
    ("cnn", "lstm"): {"weighting": "two", "batch_size": 256},
}
"""The same for Table 5."""


def _as_published(experiment: Experiment, **settings) -> Experiment:
    """The experiment with everything that its published script does; fields without effect keep their defaults."""
    idle = experiment.config.without_effect
    settings = {name: value for name, value in {**CODE, **settings}.items() if name not in idle}
    return _variant(experiment, "code", "as published code", **settings)


def _table3() -> list[Experiment]:
    rows = []
    for network in ("lstm", "cnn"):
        for name, title in FEATURES.items():
            acoustic, level = name.split("-")
            frames = 3411 if acoustic == "paa" else 3409
            settings = {"acoustic": acoustic, "level": level, "frames": frames, "acoustic_network": network}
            rows.append(_row("table3", f"{network}-{name}", f"{NETWORKS[network]}, {title}", 1, **ACOUSTIC, **settings))
            if (network, name) == ("lstm", "paa-hsf"):
                rows.append(_chosen_on_validation(rows[-1], "weights"))
    plain = [row for row in rows if row.config.choose == "none"]
    code = [_as_published(row, **CODE_OF_ROWS[row.id.rsplit("/", 1)[1]]) for row in plain]
    return [*rows, *map(_standardised, plain), *code]


def _table4() -> list[Experiment]:
    rows = []
    for network in ("lstm", "cnn"):
        for words, title in WORDS.items():
            settings = {"text_network": network, "words": words}
            rows.append(_row("table4", f"{network}-{words}", f"{NETWORKS[network]}, {title}", 1, **TEXT, **settings))
            if (network, words) == ("lstm", "glove"):
                rows.append(_chosen_on_validation(rows[-1], "weights"))
    plain = [row for row in rows if row.config.choose == "none"]
    return [*rows, *(_as_published(row, **CODE_OF_ROWS.get(row.id.rsplit("/", 1)[1], {})) for row in plain)]


def _table5() -> list[Experiment]:
    rows = {}
    for acoustic, text in PAIRS:
        settings = {"acoustic_network": acoustic, "text_network": text, "weighting": "none"}
        title = f"{NETWORKS[acoustic]} + {NETWORKS[text]}"
        rows[acoustic, text] = _row("table5", f"{acoustic}-{text}", title, REPEATS, **settings)
    first, *others = rows.values()
    title = "highest validation loss kept (the authors' script)"
    highest = [_variant(rows[pair], "highest", title, keep="highest") for pair in HIGHEST_KEPT]
    chosen = _chosen_on_validation(first, "dropout", grid="0.1 0.4 0.7")  # 9 pairs of rates
    common = {"functionals": "nonzero", "acoustic_dropout": 0.3, "text_dropout": 0.3}
    code = [_as_published(row, **common, **CODE_OF_PAIRS.get(pair, {})) for pair, row in rows.items()]
    return [first, chosen, *others, *highest, _standardised(first), *code]


def _table6() -> list[Experiment]:
    rows = {
        name: _row("table6", name, title, REPEATS, weighting=name, batch_size=256, **weights)
        for name, (title, weights) in WEIGHTINGS.items()
    }
    title = "the authors' small acoustic network"
    small = _variant(rows["two"], "small", title, small_acoustic=True, activation="relu")
    variants = [_chosen_on_validation(rows["two"], "weights"), small, _standardised(rows["two"])]
    code = [
        _as_published(row, functionals="nonzero", standardisation="training", small_acoustic=name == "two")
        for name, row in rows.items()
    ]
    return [*rows.values(), *variants, *map(_single_task, DIMENSIONS), *code]


def _single_task(dimension: str) -> Experiment:
    """A network trained with the loss of one dimension alone (Sec. V), the baseline of Eq. 4 to 6."""
    weights = {name: float(of == dimension) for name, of in zip(("alpha", "beta", "gamma"), DIMENSIONS, strict=True)}
    title = f"Single task, {dimension}"
    return _row("table6", f"single-{dimension}", title, REPEATS, weighting="three", batch_size=256, **weights)


def _figures() -> list[Experiment]:
    rows = []
    for alpha in TENTHS:
        for beta in TENTHS:
            settings = {"weighting": "two", "alpha": alpha, "beta": beta}
            rows.append(_row("fig4", f"alpha-{alpha}-beta-{beta}", f"alpha {alpha}, beta {beta}", 1, **settings))
    for name in ("alpha", "beta", "gamma"):
        for value in TENTHS:
            # The weights that are not varied stay at 1.
            settings = {"alpha": 1.0, "beta": 1.0, "gamma": 1.0, name: value}
            rows.append(_row("fig5", f"{name}-{value}", f"{name} {value}", 1,
                             weighting="three", batch_size=256, **settings))  # fmt: skip
    for rate in TENTHS:
        settings = {"weighting": "none", "acoustic_dropout": rate, "text_dropout": 0.3}
        rows.append(_row("fig6", f"acoustic-{rate}", f"acoustic {rate}", 1, **settings))
    for acoustic in TENTHS[1:10]:
        for text in TENTHS[1:10]:
            settings = {"weighting": "none", "acoustic_dropout": acoustic, "text_dropout": text}
            title = f"acoustic {acoustic}, text {text}"
            rows.append(_row("fig6", f"acoustic-{acoustic}-text-{text}", title, 1, **settings))
    return rows


def pretrained(config: DimensionalConfig) -> list[PretrainedWeights]:
    """The pretrained word vectors."""
    from papers.dimensional_mtl.vectors import DOWNLOADS, vectors_file

    if not config.uses_words or config.words == "we":
        return []
    source = "" if config.vectors else DOWNLOADS[config.words]
    return [PretrainedWeights("word vectors", vectors_file(config), source, fallback={"words": "we"})]


PAPER = Paper(
    package=__package__,
    title=(
        "Dimensional speech emotion recognition from speech features and word embeddings by using multitask learning"
    ),
    reference="Atmaja, Akagi 2020, APSIPA Transactions on Signal and Information Processing",
    experiments=(*_table3(), *_table4(), *_table5(), *_table6(), *_figures()),
    cost="cost:work",
    pretrained="experiments:pretrained",
    scaled=SCALED,
    demo=("6",),
    figures=(
        Figure("4", "Mean CCC over alpha and beta (Eq. 5)", "figures:draw_weights"),
        Figure("5", "CCC over each of three weights (Eq. 6)", "figures:draw_three_weights"),
        Figure("6", "CCC over the dropout of each modality", "figures:draw_dropout"),
        Figure("table5", "LSTM + LSTM compared with every other pair of networks", "figures:draw_pairs"),
    ),
)
