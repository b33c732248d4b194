"""What medley.toml may say: pydantic's models of its tables. A field's description says what would be right.

The fields are those of the records, which have the defaults; only what the file says is taken from here.
"""

import unicodedata
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from pipeline.project.records import METRICS

FRAMEWORKS = ("xgboost", "sklearn", "lightgbm", "catboost", "onnx", "skops", "parquet", "torchscript")
_NONE: Any = None  # of what the file does not say


def _sequence(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


_Words = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_sequence)]
_Channel = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=64)]
_Percent = Annotated[float, Field(gt=0, le=100)]


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class EndpointTable(Table):
    name: str = Field(
        _NONE,
        pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9])*$",
        max_length=54,  # its configurations are named {endpoint}-{hash8}, and SageMaker takes 63 letters
        description="up to 54 letters, digits and hyphens between them",
    )
    instance_type: str = Field(
        _NONE, pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9-]+$", description='a SageMaker instance type, such as "ml.m5.large"'
    )
    instance_count: int = Field(_NONE, ge=1, description="a whole number from 1 on")
    cache: Literal["Enabled", "Disabled"] = Field(_NONE, description='"Enabled" or "Disabled"')
    environment: dict[str, str] = Field(_NONE, description='a table of texts, such as MEDLEY_PICKLE = "refuse"')
    warm: _Words = Field(_NONE, description='a list of aliases or TargetModels, such as ["churn"]')
    traffic: Literal["canary", "linear", "all_at_once"] = Field(
        _NONE, description='"canary", "linear" or "all_at_once"'
    )
    traffic_percent: int = Field(_NONE, ge=1, le=50, description="a whole number from 1 to 50, of linear from 10")
    bake_seconds: int = Field(_NONE, ge=0, le=3600, description="seconds from 0 to 3600, a whole number")

    @field_validator("traffic_percent")
    @classmethod
    def _linear_steps(cls, percent: int, told: ValidationInfo) -> int:
        if told.data.get("traffic") == "linear" and percent < 10:
            raise ValueError(f"`traffic_percent` in [endpoint] is {percent}; linear traffic takes 10 to 50.")
        return percent


class ScalingTable(Table):
    min: int = Field(ge=1, description="the least instances, a whole number from 1 on")
    max: int = Field(ge=1, description="the most instances, a whole number that is not below `min`")
    invocations_per_instance: float = Field(
        gt=0, description="the calls a minute that one instance should get, a number above 0"
    )
    in_cooldown: int = Field(_NONE, ge=0, description="seconds, a whole number from 0 on")
    out_cooldown: int = Field(_NONE, ge=0, description="seconds, a whole number from 0 on")

    @field_validator("max")
    @classmethod
    def _in_order(cls, most: int, told: ValidationInfo) -> int:
        if most < told.data.get("min", 0):
            raise ValueError(f"`max` in [scaling] is {most}, and must not be below `min`, which is {told.data['min']}.")
        return most


class AlarmsTable(Table):
    errors_5xx: float = Field(_NONE, gt=0, description="answers of 5xx in a minute that ring, a number above 0")
    loading_wait_ms: float = Field(_NONE, gt=0, description="milliseconds, a number above 0")
    memory_percent: _Percent = Field(_NONE, description="a number above 0 and up to 100")
    disk_percent: _Percent = Field(_NONE, description="a number above 0 and up to 100")
    email: str = Field(
        _NONE, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", description='an address, such as "you@example.com"'
    )


class ImageTable(Table):
    frameworks: Annotated[tuple[Literal[FRAMEWORKS], ...], BeforeValidator(_sequence)] = Field(  # type: ignore[valid-type]
        _NONE, min_length=1, description=f"a list with at least one of {', '.join(FRAMEWORKS)}"
    )
    tag: str = Field(
        _NONE,
        pattern=r"^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$",
        description='a tag of an image, up to 128 letters, digits and ._-, such as "1.0"',
    )


class ModelTable(Table):
    name: str = Field(
        min_length=1,
        max_length=200,
        pattern=r"^[^\s/]+(/[^\s/]+)*$",
        description='the name of a model, such as "churn": no spaces, and single slashes inside',
    )
    framework: Literal["xgboost", "sklearn", "lightgbm", "catboost"] = Field(
        description='"xgboost", "sklearn", "lightgbm" or "catboost"'
    )
    estimator: str = Field(min_length=1, description='the name of a class, such as "XGBClassifier"')
    hyperparameters: dict[str, Any] = Field(_NONE, max_length=90, description="a table of up to 90 arguments")
    channels: dict[_Channel, str] = Field(
        _NONE, description='a table such as {train = "train", test = "s3://bucket/test"}'
    )
    target: str = Field(_NONE, min_length=1, description="the column to predict, by name or place, in quotes")
    content_type: str = Field(_NONE, description='"text/csv", "text/libsvm" or "application/x-parquet"')
    predict_method: str = Field(_NONE, description='a method of the estimator, such as "predict_proba"')
    metric: Literal[METRICS] = Field(_NONE, description=f"one of {', '.join(METRICS)}")  # type: ignore[valid-type]
    bound: float = Field(_NONE, description="a number, which its metric must reach")
    instance_type: str = Field(_NONE, pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9-]+$", description='such as "ml.m5.large"')
    max_minutes: int = Field(_NONE, ge=1, le=7200, description="a whole number of minutes, up to 7200")
    volume_gb: int = Field(_NONE, ge=1, le=16384, description="a whole number of gigabytes, from 1 on")

    @field_validator("hyperparameters")
    @classmethod
    def _no_own(cls, given: dict[str, Any]) -> dict[str, Any]:
        if own := sorted(given.keys() & {"framework", "estimator", "target", "predict_method"}):
            raise ValueError(f"`{own[0]}` in [[model]] is a line of its own, and not one of `hyperparameters`.")
        return given

    @field_validator("channels")
    @classmethod
    def _trained(cls, channels: dict[str, str]) -> dict[str, str]:
        if "train" not in channels:
            raise ValueError('`channels` in [[model]] has no `train`: say where the rows are, as in {train = "train"}.')
        return channels

    @field_validator("bound")
    @classmethod
    def _of_a_metric(cls, bound: float, told: ValidationInfo) -> float:
        if not told.data.get("metric"):
            raise ValueError("`bound` in [[model]] is of no metric: say `metric` too, such as auc or rmse.")
        return bound


class ProjectTables(Table):
    name: str = Field(
        pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$",
        max_length=28,  # of the bucket's name: 63 letters, with account and region
        description="up to 28 small letters, digits and single hyphens between them, the first a letter",
    )
    region: str = Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$", description='a region, such as "eu-central-1"')
    account: str = Field(_NONE, pattern=r"^\d{12}$", description='twelve digits in quotes, such as "123456789012"')
    bucket: str = Field(
        _NONE,
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
        description="a bucket's name: 3 to 63 small letters, digits, hyphens and dots",
    )
    prefix: str = Field(
        _NONE,
        pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$",
        max_length=200,
        description='letters, digits and ._- between single slashes, such as "ml/medley", without one at its end',
    )
    endpoint: EndpointTable = Field(_NONE, description="a table: [endpoint]")
    scaling: ScalingTable = Field(_NONE, description="a table: [scaling]")
    alarms: AlarmsTable = Field(_NONE, description="a table: [alarms]")
    image: ImageTable = Field(_NONE, description="a table: [image]")
    model: Annotated[tuple[ModelTable, ...], BeforeValidator(_sequence)] = Field((), description="tables: [[model]]")

    @field_validator("model")
    @classmethod
    def _different(cls, models: tuple[ModelTable, ...]) -> tuple[ModelTable, ...]:
        names = [unicodedata.normalize("NFC", model.name) for model in models]  # as keys have them
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"Two tables [[model]] have the name {twice[0]}: each model needs its own.")
        return models

    tables: ClassVar[dict[str, type[Table]]]


ProjectTables.tables = {
    "endpoint": EndpointTable,
    "scaling": ScalingTable,
    "alarms": AlarmsTable,
    "image": ImageTable,
    "model": ModelTable,
}


def fields_at(place: tuple[str | int, ...]) -> list[str]:
    """The keys that the table at `place` can have."""
    table = ProjectTables.tables[str(place[0])] if place else ProjectTables
    return list(table.model_fields)


def description(place: tuple[str | int, ...]) -> str:
    """What would be right for a key, or for the one that it is in."""
    table: type[Table] = ProjectTables
    if len(place) > 1 and place[0] in ProjectTables.tables:
        table = ProjectTables.tables[str(place[0])]
        place = tuple(part for part in place[1:] if isinstance(part, str))
    return str(table.model_fields[str(place[0])].description)
