"""The claims in `papers/NAME/claims.csv` name experiments that can be compared, and the paper's own difference."""

import csv
import re
from decimal import ROUND_HALF_UP, Decimal

import pytest

import data_prep
from common.metrics import METRICS
from ser.registry import PAPERS, paper

COLUMNS = ["id", "section", "claim", "relation", "first", "second", "metric", "difference", "note"]
PAIRED = ("higher", "lower", "equal")
BEST = {"highest": max, "lowest": min}
COSTS = ("parameters", "seconds", "memory")
SECTION = re.compile(r"abstract|conclusion|Sec\. [\dIVX]+(-[A-D])?(\.\d+)*|Table ([\d]+|[IVX]+)|Fig\. \d+")


def read(file):
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(params=PAPERS)
def one(request):
    return paper(request.param)


@pytest.fixture
def claims(one):
    return [
        row | {"first": row["first"].split(" "), "second": row["second"].split(" ")}
        for row in read(one.reported.with_name("claims.csv"))
    ]


def labels_of(experiment):
    """The numbers or words with which the label of a metric may begin: a number of classes, dimensions, their mean."""
    if experiment.target.dimensions:
        return {*experiment.target.dimensions, "mean"}
    subset = data_prep.corpus(experiment.corpus).subset(experiment.subset)
    return {str(len(experiment.target.classes or subset.classes))}


def test_every_claim_is_one_line_of_the_known_columns(one, claims):
    assert list(claims[0]) == COLUMNS
    assert len(claims) >= 8
    assert len({claim["id"] for claim in claims}) == len(claims)
    assert len({(claim["claim"], claim["metric"]) for claim in claims}) == len(claims)
    asked = {
        (claim["relation"], *claim["first"], "than", *claim["second"], claim["metric"]): claim["id"] for claim in claims
    }
    assert len(asked) == len(claims), "two claims ask the same"
    for claim in claims:
        said = f"{one.name} {claim['id']}"
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", claim["id"]), said
        assert all(SECTION.fullmatch(section) for section in claim["section"].split("; ")), said
        assert claim["claim"].endswith(".") and claim["claim"].count(". ") == 0, said
        assert not claim["note"] or claim["note"].endswith("."), said
        assert claim["relation"] in (*PAIRED, *BEST), said


def test_every_claim_compares_experiments_on_the_same_folds(one, claims):
    experiments = {experiment.id: experiment for experiment in one.experiments}
    for claim in claims:
        said = f"{one.name} {claim['id']}"
        first, second = claim["first"], claim["second"]
        assert set(first) | set(second) <= set(experiments), said
        if claim["relation"] in BEST:
            assert len(first) == 1 and len(set(second)) == len(second) >= 2, said
            first = first * len(second)
        assert len(first) == len(second), said
        assert len(set(zip(first, second, strict=True))) == len(first), said
        for one_id, other_id in zip(first, second, strict=True):
            pair = experiments[one_id], experiments[other_id]
            assert one_id != other_id, said
            for field in ("corpus", "subset", "protocol", "target"):
                assert getattr(pair[0], field) == getattr(pair[1], field), f"{said}: {one_id}, {other_id}, {field}"


def test_every_metric_measures_its_experiments(one, claims):
    experiments = {experiment.id: experiment for experiment in one.experiments}
    for claim in claims:
        said = f"{one.name} {claim['id']}"
        if claim["metric"] in COSTS:
            continue
        function, label, aggregation = claim["metric"].split("/")
        assert function in METRICS and aggregation in ("folds", "pooled", "file-order"), said
        compared = [experiments[name] for name in (*claim["first"], *claim["second"])]
        tasks = {"regression" if experiment.target.dimensions else "classification" for experiment in compared}
        assert tasks == {METRICS[function].task}, said
        labels = [labels_of(experiment) for experiment in compared]
        several = any(other != labels[0] for other in labels)
        assert (label == "all") == several, f"{said}: experiments with different classes have the label 'all'"
        if not several:
            assert label in labels[0] or re.match(r"\d*", label)[0] in labels[0], said


def printed(cells, experiment, metric):
    """The number that the paper prints for an experiment, None if it prints none."""
    if metric == "parameters":
        network = experiment.split("/")[3].split("-")[0]
        millions = [cell["value"] for cell in cells if cell["cell"] == f"table1/params/{network}"]
        return 1_000_000 * Decimal(millions[0]) if millions else None
    if metric in COSTS:
        return None
    function, label, aggregation = metric.split("/")
    found = [
        cell
        for cell in cells
        if cell["experiment"] == experiment
        and cell["value"]
        and cell["metric"].split("/")[::2] == [function, aggregation]
        and label in ("all", cell["metric"].split("/")[1])
    ]
    # Several tables may print a row again; a slip in one of them is marked as such, and the first table counts.
    assert all(cell["value"] == found[0]["value"] or cell["note"].startswith("slip") for cell in found), experiment
    return Decimal(found[0]["value"]) if found else None


def difference_of(cells, claim):
    """First minus second, or first minus the best rival, with as many digits as the longest printed number."""
    first, second = ([printed(cells, name, claim["metric"]) for name in claim[side]] for side in ("first", "second"))
    if None in first + second:
        return ""
    if claim["relation"] in BEST:
        difference = first[0] - BEST[claim["relation"]](second)
    else:
        difference = sum(one - other for one, other in zip(first, second, strict=True)) / len(first)
    digits = max(0, *(-number.as_tuple().exponent for number in first + second))
    difference = difference.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    return f"{difference:f}" if difference else f"{abs(difference):f}"


def test_every_difference_follows_from_the_printed_numbers(one, claims):
    cells = read(one.reported)
    for claim in claims:
        assert claim["difference"] == difference_of(cells, claim), f"{one.name} {claim['id']}"


def test_a_difference_against_the_claim_has_a_note(one, claims):
    for claim in claims:
        if claim["difference"] and claim["relation"] != "equal":
            difference = float(claim["difference"])
            agrees = difference > 0 if claim["relation"] in ("higher", "highest") else difference < 0
            assert agrees or claim["note"], f"{one.name} {claim['id']}"


EXAMPLES = {
    "mtap": {"apfl-over-softmax-emodb-si-wa": "6.72", "apfl-over-softmax-emodb-si-ua": "8.99"},
    "dimensional_mtl": {
        "two-weights-best": "0.011",
        "lstm-lstm-best-mean": "0.011",
        "bimodal-over-acoustic-valence": "0.2451",
    },
    "gmp_atl": {
        "pseudo-labels-with-ams-ua": "2.2",
        "ams-over-ce-with-pseudo-labels-ua": "1.8",
        "layer-3-best-ua": "0.1",
    },
    "quaternion_at": {"quaternion-parameters": "-150000000", "at-helps-iemocap": "3.01", "quaternion-seconds": ""},
    "mtl_aae": {"aae-best-iemocap": "2.27", "multi-over-single-emotion-iemocap": "", "more-speakers-help-iemocap": ""},
}
"""Differences computed by hand from the papers' text; the paper prints none where there is none."""


def test_some_differences_are_those_of_the_text(one, claims):
    differences = {claim["id"]: claim["difference"] for claim in claims}
    assert EXAMPLES[one.name].items() <= differences.items()
