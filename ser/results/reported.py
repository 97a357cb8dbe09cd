"""The numbers that a paper reports, one per line of its `reported.csv`.

Columns: cell, table, row, column, metric, value, std, experiment, note. A metric's id says function, labels and
aggregation: "ua/7class/folds" is the mean over folds of the unweighted accuracy on seven classes,
"ccc/valence/pooled" the CCC of all test utterances together, and "ccc_batch32/mean/file-order" the mean over all
dimensions of what `common.metrics.ccc_batches` gives. Functions are the keys of `common.metrics.METRICS`. Accuracies
are in percent; a CCC is printed as it is.

A cell without an experiment is quoted from another paper, or is not rebuilt yet. A cell without a value is measured
beside the paper's own numbers (for example under an honest variant of its protocol) but is not printed in the paper.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

from common.errors import UserError
from common.metrics import METRICS
from common.results import Cell

COLUMNS = ("cell", "table", "row", "column", "metric", "value", "std", "experiment", "note")


def read_cells(path: Path) -> list[Cell]:
    """Reads all cells of a `reported.csv`, in its order.

    Raises:
        UserError: The columns differ from `COLUMNS`, a value is no number, a metric is not registered, or a cell
            occurs twice. Names the line.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise UserError(f"{path} must have the columns {', '.join(COLUMNS)}.")
        cells = []
        seen: set[str] = set()
        for number, line in enumerate(reader, start=2):
            try:
                value = float(line["value"]) if line["value"] or not line["experiment"] else math.nan
                std = float(line["std"]) if line["std"] else math.nan
            except (TypeError, ValueError):
                raise UserError(f"{path}, line {number}: value and std must be numbers.") from None
            cell = Cell(**{**line, "value": value, "std": std})
            if cell.experiment and cell.function not in METRICS:
                raise UserError(
                    f"{path}, line {number}: '{cell.function}' is not a metric; known are {', '.join(METRICS)}."
                )
            if cell.cell in seen:
                raise UserError(f"{path}, line {number}: the cell {cell.cell} occurs twice.")
            seen.add(cell.cell)
            cells.append(cell)
    return cells
