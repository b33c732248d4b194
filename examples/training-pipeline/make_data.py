"""Rows to train on, in the layout that the pipeline expects: FOLDER/train, /validation and /test, each with a CSV file.

    python make_data.py FOLDER                      the diabetes study that scikit-learn carries (what is in data/)
    python make_data.py FOLDER --abalone FILE.csv   SageMaker's Abalone file, as its examples have it

What is to be predicted is the first column. Sex, where a file has it as a letter, becomes three columns.
"""

import argparse
import csv
import random
from collections.abc import Sequence
from pathlib import Path

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}


def diabetes() -> tuple[list[str], list[list[object]]]:
    from sklearn.datasets import load_diabetes

    table = load_diabetes(scaled=False)
    rows = [[answer, *row] for answer, row in zip(table.target.tolist(), table.data.tolist(), strict=True)]
    return ["progression", *table.feature_names], rows


def abalone(file: Path) -> tuple[list[str], list[list[object]]]:
    """Either form: with the sex as a letter and the rings last, or numbers alone and the rings first."""
    with file.open(newline="") as text:
        rows = [row for row in csv.reader(text) if row]
    if rows[0][0] in ("sex", "Sex"):
        rows = rows[1:]
    if rows[0][0] not in "MFI":
        return [], [list(row) for row in rows]
    sexes = {letter: [int(letter == other) for other in "MFI"] for letter in "MFI"}
    names = ["rings", "M", "F", "I", "length", "diameter", "height", "whole", "shucked", "viscera", "shell"]
    return names, [[row[-1], *sexes[row[0]], *row[1:-1]] for row in rows]


def write(folder: Path, names: Sequence[str], rows: list[list[object]]) -> None:
    random.Random(0).shuffle(rows)
    start = 0
    for channel, share in SHARES.items():
        end = start + round(share * len(rows))
        (folder / channel).mkdir(parents=True, exist_ok=True)
        with (folder / channel / "rows.csv").open("w", newline="") as text:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerows([names] if names else [])
            writer.writerows(rows[start : end if channel != "test" else None])
        start = end


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Rows for the training pipeline.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--abalone", type=Path, help="take this file's rows instead")
    words = parser.parse_args()
    write(words.folder, *(abalone(words.abalone) if words.abalone else diabetes()))
