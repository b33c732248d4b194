"""medley.toml: read, and held against what AWS takes, before anything is asked of AWS.

Every mistake is told at once, each with file, line, what is wrong and what would be right (lines.py finds the
lines). What a field may be is in schema.py; defaults are records.py's alone.
"""

import difflib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.failed import REFUSED, Failed
from pipeline.project.lines import lines_of
from pipeline.project.records import Alarms, Endpoint, Image, Project, Scaling, Training
from pipeline.project.schema import ProjectTables, Table, description, fields_at

NAME = "medley.toml"
_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)$")
_Place = tuple[str | int, ...]


def found(folder: Path | None = None) -> Path | None:
    """The medley.toml of `folder` (this one, if not said), or of the nearest one above it."""
    folder = (folder or Path.cwd()).resolve()
    return next((place / NAME for place in (folder, *folder.parents) if (place / NAME).is_file()), None)


def find(folder: Path | None = None) -> Path:
    """As `found`. Raises Failed where there is none."""
    if path := found(folder):
        return path
    raise Failed(
        f"There is no {NAME} in {folder} or above it: write one with `medley init`, or name it with --project."
    )


def read(path: Path) -> Project:
    """The project of a medley.toml. Raises Failed, with a line for each mistake."""
    try:
        return parse(path.read_text(encoding="utf-8-sig"), path)  # Windows' editors put a mark at its start
    except OSError as error:
        raise Failed(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise Failed(f"{path} is not UTF-8 text: save it as UTF-8.") from error


def parse(text: str, path: Path) -> Project:
    """As `read`, of a text that is at `path`, or will be."""
    try:
        told = tomllib.loads(text)
        return _project(ProjectTables.model_validate(told))
    except tomllib.TOMLDecodeError as error:
        raise Failed(_of_syntax(path, text, str(error))) from error
    except ValidationError as error:
        raise Failed("\n".join(_mistakes(path, text, told, error)), REFUSED) from None


def _of_syntax(path: Path, text: str, said: str) -> str:
    at = _AT_LINE.search(said)
    line = int(at[1]) if at else text.count("\n") + 1
    return f"{path}, line {line}: {_AT_LINE.sub('', said)}. This is no TOML (https://toml.io)."


def _project(tables: ProjectTables) -> Project:
    said = _said(tables)
    parts: dict[str, Any] = {
        "endpoint": Endpoint(**_said(tables.endpoint)),
        "scaling": Scaling(**_said(tables.scaling)) if tables.scaling else None,
        "alarms": Alarms(**_said(tables.alarms)),
        "image": Image(**_said(tables.image)),
        "models": tuple(Training(**_said(model)) for model in tables.model),
    }
    said.pop("model", None)
    return Project(**{**said, **parts})


def _said(table: Table | None) -> dict[str, Any]:
    """What the file says, and no default."""
    return {name: getattr(table, name) for name in table.model_fields_set} if table else {}


def _mistakes(path: Path, text: str, told: dict[str, Any], error: ValidationError) -> Iterator[str]:
    lines = lines_of(text)
    for found in sorted(error.errors(), key=lambda found: _line(lines, found["loc"])):
        place = found["loc"]
        yield f"{path}, line {_line(lines, place)}: {_mistake(place, found['type'], found['msg'], told)}"


def _line(lines: dict[_Place, int], place: _Place) -> int:
    """Of the place, or of the nearest table around it that the file has; of a list of tables, the first's."""
    place = next((found for found in (place, (*place, 0)) if found in lines), place)
    while place not in lines and place:
        place = place[:-1]
    return lines.get(place, 1)


def _mistake(place: _Place, kind: str, said: str, told: dict[str, Any]) -> str:
    if kind == "extra_forbidden":
        return _unknown(place)
    if kind == "missing":
        return f"{_named(place)} is missing: {description(place)}."
    if kind == "value_error":  # of a table as a whole: the schema's own sentence
        return said.removeprefix("Value error, ")
    held = "holds" if isinstance(place[-1], int) else "is"
    return f"{_named(place)} {held} {_value(place, told)}, and it must be {description(place)}."


def _unknown(place: _Place) -> str:
    known = fields_at(place[:-1])
    near = difflib.get_close_matches(str(place[-1]), known, 1)
    hint = f"Did you mean `{near[0]}`?" if near else f"There can be: {', '.join(known)}."
    return f"there is no {_named(place)}. {hint}"


def _named(place: _Place) -> str:
    """As a person finds it: `instance_count` in [endpoint]; of a list's item, the list."""
    if isinstance(place[-1], int) and len(place) > 2:
        place = place[:-1]
    tables = [str(part) for part in place[:-1] if isinstance(part, str)]
    if not tables:
        return f"`{place[-1]}`"
    numbers = [part + 1 for part in place[:-1] if isinstance(part, int)]
    around = f"[[{'.'.join(tables)}]] number {numbers[0]}" if numbers else f"[{'.'.join(tables)}]"
    return f"`{place[-1]}` in {around}"


def _value(place: _Place, told: Any) -> str:
    for part in place:
        try:
            told = told[part]
        except (KeyError, IndexError, TypeError):
            break  # the schema's own word for a part of the value
    return f"{told!r}".replace("'", '"') if isinstance(told, str) else str(told)


TEMPLATE = """\
# What `medley` works on. `medley init` wrote this; what is commented out is the default.
# Commands find it in this folder and in those below it. Mistakes are told with their line.

# Part of every name in AWS: stack medley-{name}, repository medley-{name}, and so on. Small letters, digits, hyphens.
name = "{name}"
region = "{region}"

# Refuse to work in any other account than this. Left out, it is that of the credentials.
# account = "123456789012"

# The bucket that `medley bootstrap` makes, and where in it all of this lies.
# bucket = "medley-{name}-ACCOUNT-{region}"
# prefix = "medley"

[endpoint]
# name = "{name}"
# instance_type = "ml.m5.large"
# instance_count = 1

# "Disabled" where there are few calls to each of very many models: nothing is kept in memory between them.
# cache = "Enabled"

# Aliases or TargetModels that are invoked once after a deploy, so that nobody meets a cold fleet.
# warm = ["churn"]

# A new image takes over by "canary" (a part first, then all), "linear" (part by part) or "all_at_once". Where an alarm
# goes off within the seconds after each step, the old one stays.
# traffic = "canary"
# traffic_percent = 10
# bake_seconds = 300

# Variables of the container (docs/settings.md).
# [endpoint.environment]
# MEDLEY_PICKLE = "refuse"

# Without this table the number of instances stays as it is.
# [scaling]
# min = 1
# max = 4
# invocations_per_instance = 1000  # a minute
# in_cooldown = 300  # seconds
# out_cooldown = 60

# [alarms]
# errors_5xx = 1  # answers of 5xx in a minute
# loading_wait_ms = 10000
# memory_percent = 90
# disk_percent = 90
# email = "you@example.com"

[image]
# Of xgboost, sklearn, lightgbm, catboost, onnx, skops, parquet, torchscript: each makes the image larger.
frameworks = ["xgboost", "sklearn"]
# tag = "1.0"  # the commit's, where it is not said

# The models of the training pipeline (docs/pipeline.md), one table each.
# [[model]]
# name = "churn"
# framework = "xgboost"
# estimator = "XGBClassifier"
# hyperparameters = {{n_estimators = 200, max_depth = 4}}
# channels = {{train = "train", test = "test"}}  # below the pipeline's data, or "s3://..."
# target = "0"  # the column to predict, by name or place
# metric = "auc"  # accuracy, f1_macro, log_loss, auc of classes; rmse, mae, r2 of numbers
# bound = 0.9  # what its evaluation must reach
"""
