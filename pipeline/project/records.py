"""What a project is: what medley.toml says (medley_toml.py reads it), and every name that follows from that.

Standard library only: the function in AWS Lambda uses it too. All names of things in AWS are properties here, so that
what one command makes is what another finds. Where the file does not say the account, it is the caller's
(clients.Clients.resolve), and the names that hold it are there from then on.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Cache = Literal["Enabled", "Disabled"]
Traffic = Literal["canary", "linear", "all_at_once"]
METRICS = ("accuracy", "f1_macro", "log_loss", "auc", "rmse", "mae", "r2")  # that `train` and `evaluate` know
AT_MOST = ("log_loss", "rmse", "mae")  # of these less is better


@dataclass(frozen=True)
class Endpoint:
    """The multi-model endpoint. `name` is the project's where it is empty. warm: aliases or TargetModels that are
    invoked once after a deploy; traffic_percent: of one step of a canary or linear roll-out."""

    name: str = ""
    instance_type: str = "ml.m5.large"
    instance_count: int = 1
    cache: Cache = "Enabled"
    environment: Mapping[str, str] = field(default_factory=dict)
    warm: tuple[str, ...] = ()
    traffic: Traffic = "canary"
    traffic_percent: int = 10
    bake_seconds: int = 300


@dataclass(frozen=True)
class Scaling:
    """Instances, from `min` to `max`, by calls for each instance and minute; cooldowns in seconds."""

    min: int
    max: int
    invocations_per_instance: float
    in_cooldown: int = 300
    out_cooldown: int = 60


@dataclass(frozen=True)
class Alarms:
    """Thresholds: errors a minute, milliseconds, percents. `email` is told of them."""

    errors_5xx: float = 1.0
    loading_wait_ms: float = 10_000
    memory_percent: float = 90
    disk_percent: float = 90
    email: str | None = None


@dataclass(frozen=True)
class Image:
    """What the image holds, as the Dockerfile's FRAMEWORKS; tag: the commit's where it is not said."""

    frameworks: tuple[str, ...] = ("xgboost", "sklearn")
    tag: str | None = None


@dataclass(frozen=True)
class Training:
    """One model of the training pipeline: a [[model]] of medley.toml.

    channels: by name an s3:// place, or a path below the project's data (definition.py). metric and bound: what its
    evaluation must reach, at least or at most by the metric's kind (verdict.py); no bound, no condition."""

    name: str
    framework: str
    estimator: str
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    channels: Mapping[str, str] = field(default_factory=lambda: {"train": "train", "test": "test"})
    target: str = "0"  # the column to predict, by name or place
    content_type: str = "text/csv"
    predict_method: str | None = None
    metric: str = ""
    bound: float | None = None
    instance_type: str | None = None  # of its training, where it is not the pipeline's parameter
    max_minutes: int = 60
    volume_gb: int = 10


@dataclass(frozen=True)
class Project:
    """`bucket` is `medley-{name}-{account}-{region}` where it is not said: empty until the account is known."""

    name: str
    region: str
    account: str | None = None
    bucket: str = ""
    prefix: str = "medley"
    endpoint: Endpoint = field(default_factory=Endpoint)
    scaling: Scaling | None = None
    alarms: Alarms = field(default_factory=Alarms)
    image: Image = field(default_factory=Image)
    models: tuple[Training, ...] = ()

    def __post_init__(self) -> None:
        if not self.bucket and self.account:
            object.__setattr__(self, "bucket", f"medley-{self.name}-{self.account}-{self.region}")
        if not self.endpoint.name:
            object.__setattr__(self, "endpoint", Endpoint(**{**vars(self.endpoint), "name": self.name}))

    # What stands in AWS under the project's name

    @property
    def stack(self) -> str:
        return f"medley-{self.name}"

    repository = build_project = pipeline_name = model_package_group = stack

    @property
    def deploy_function(self) -> str:
        return f"{self.stack}-deploy"

    @property
    def execution_role(self) -> str:
        return f"{self.stack}-execution"

    @property
    def build_role(self) -> str:
        return f"{self.stack}-build"

    @property
    def deploy_role(self) -> str:
        return f"{self.stack}-deploy"

    @property
    def pipeline_role(self) -> str:
        return f"{self.stack}-pipeline"

    @property
    def alarm_names(self) -> dict[str, str]:
        """By what each watches: 5xx, loading-wait, memory, disk."""
        return {what: f"{self.stack}-{what}" for what in ("5xx", "loading-wait", "memory", "disk")}

    @property
    def endpoint_arn(self) -> str:
        """SageMaker has its name in small letters there, whatever letters it has."""
        return f"arn:{self.partition}:sagemaker:{self.region}:{self.account}:endpoint/{self.endpoint.name.lower()}"

    @property
    def endpoint_logs(self) -> str:
        return f"/aws/sagemaker/Endpoints/{self.endpoint.name}"

    @property
    def build_logs(self) -> str:
        return f"/aws/codebuild/{self.build_project}"

    @property
    def function_logs(self) -> str:
        return f"/aws/lambda/{self.deploy_function}"

    def role_arn(self, role: str) -> str:
        return f"arn:{self.partition}:iam::{self.account}:role/{role}"

    @property
    def partition(self) -> str:
        starts = {"cn": "aws-cn", "us-gov": "aws-us-gov"}
        return next((name for start, name in starts.items() if self.region.startswith(f"{start}-")), "aws")

    # Keys of the bucket

    @property
    def models_prefix(self) -> str:
        """What stands before a TargetModel to make a key of it."""
        return f"{self.prefix}/models/"

    @property
    def model_data_url(self) -> str:
        """ModelDataUrl of the multi-model endpoint."""
        return f"s3://{self.bucket}/{self.models_prefix}"

    @property
    def aliases_prefix(self) -> str:
        return f"{self.prefix}/aliases/"

    def alias_key(self, name: str) -> str:
        return f"{self.aliases_prefix}{name}.json"

    def source_key(self, sha256: str) -> str:
        return f"{self.prefix}/source/{sha256}.zip"

    def function_key(self, sha256: str) -> str:
        return f"{self.prefix}/function/{sha256}.zip"

    # For where there is no medley.toml: AWS Lambda

    def to_dict(self) -> dict[str, Any]:
        """As JSON can have it; `from_dict` takes it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> "Project":
        scaling = told.get("scaling")
        parts = {
            "endpoint": Endpoint(**_tuples(told["endpoint"])),
            "scaling": Scaling(**scaling) if scaling else None,
            "alarms": Alarms(**told["alarms"]),
            "image": Image(**_tuples(told["image"])),
            "models": tuple(Training(**_tuples(model)) for model in told["models"]),
        }
        return cls(**{**told, **parts})


def _tuples(told: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists only."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
