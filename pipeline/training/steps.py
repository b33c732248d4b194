"""The steps of a pipeline's definition, each a function that gives plain data. definition.py puts them together.

Arguments are those of CreateTrainingJob, CreateProcessingJob and CreateModelPackage, with expressions ({"Get": ...},
{"Std:Join": ...}) where a value is known in the run alone.
"""

import json
from collections.abc import Mapping
from typing import Any

from pipeline.deploy.plan import deployment_config
from pipeline.deploy.records import Rollout
from pipeline.project.records import METRICS, Project, Training

Step = dict[str, Any]

PROCESSING = "/opt/ml/processing"
_NUMBER = "([0-9.eE+-]+)"
_CACHE = {"Enabled": True, "ExpireAfter": "P30D"}  # the same arguments within 30 days: the same result
_RETRIES = [
    {
        "ExceptionType": ["Step.SERVICE_FAULT", "Step.THROTTLING"],
        "IntervalSeconds": 10,
        "BackoffRate": 2.0,
        "MaxAttempts": 5,
    },
    {  # many trainings at once wait for each other's instances
        "ExceptionType": ["SageMaker.CAPACITY_ERROR", "SageMaker.RESOURCE_LIMIT"],
        "IntervalSeconds": 60,
        "BackoffRate": 1.5,
        "ExpireAfterMin": 240,
    },
    {
        "ExceptionType": ["SageMaker.JOB_INTERNAL_ERROR"],
        "IntervalSeconds": 30,
        "BackoffRate": 2.0,
        "MaxAttempts": 2,
    },
]
_CONTENT_TYPES = ["text/csv", "application/json", "application/jsonlines", "application/x-npy", "text/libsvm"]
_ACCEPTED = ["application/json", "text/csv", "application/jsonlines", "application/x-npy"]


def parameter(name: str) -> dict[str, str]:
    return {"Get": f"Parameters.{name}"}


def join(on: str, *values: Any) -> dict[str, Any]:
    return {"Std:Join": {"On": on, "Values": list(values)}}


def evaluations(project: Project, name: str) -> dict[str, Any]:
    """Where a model's evaluation lies: under the name of the training's job."""
    return join("/", f"{_place(project)}/evaluations", {"Get": f"Steps.Train-{name}.TrainingJobName"})


def training(project: Project, model: Training, name: str, channels: Mapping[str, Any]) -> Step:
    """channels: by name, where the rows are."""
    return {
        "Name": f"Train-{name}",
        "Type": "Training",
        "Description": f"{model.framework} {model.estimator}",
        "Arguments": {
            "AlgorithmSpecification": {
                "TrainingImage": parameter("Image"),
                "TrainingInputMode": "File",
                "MetricDefinitions": [
                    {"Name": f"{channel}:{metric}", "Regex": f"{channel}:{metric}={_NUMBER}"}
                    for channel in ("train", "validation")
                    for metric in METRICS
                ],
            },
            "HyperParameters": hyperparameters(model),
            "InputDataConfig": [_channel(name, place, model.content_type) for name, place in channels.items()],
            "OutputDataConfig": {"S3OutputPath": f"{_place(project)}/trainings"},
            "ResourceConfig": {
                "InstanceType": model.instance_type or parameter("TrainingInstanceType"),
                "InstanceCount": parameter("TrainingInstanceCount"),
                "VolumeSizeInGB": model.volume_gb,
            },
            "RoleArn": project.role_arn(project.pipeline_role),
            "StoppingCondition": {"MaxRuntimeInSeconds": model.max_minutes * 60},
            "ProfilerConfig": {"DisableProfiler": True},
        },
        "CacheConfig": _CACHE,
        "RetryPolicies": _RETRIES,
    }


def hyperparameters(model: Training) -> dict[str, str]:
    """All that `train` of our image is told, as SageMaker wants it: text."""
    own = {"framework": model.framework, "estimator": model.estimator, "target": model.target}
    own |= {"predict_method": model.predict_method} if model.predict_method else {}
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in {**model.hyperparameters, **own}.items()
    }


def evaluation(project: Project, model: Training, name: str, rows: Any) -> Step:
    """rows: where those are that it is scored on."""
    words = ["evaluate", f"{PROCESSING}/model/model.tar.gz", "--data", f"{PROCESSING}/test"]
    words += [f"--target={model.target}"]  # one word, since a column's name may begin with a dash
    words += ["--content-type", model.content_type, "--output", f"{PROCESSING}/evaluation/evaluation.json"]
    words += ["--sample", f"{PROCESSING}/evaluation/sample.json", "--message", "/opt/ml/output/message"]
    inputs = {"model": {"Get": f"Steps.Train-{name}.ModelArtifacts.S3ModelArtifacts"}, "test": rows}
    step = _processing(project, f"Evaluate-{name}", words, inputs, model.volume_gb)
    step["Description"] = f"{model.metric} of {model.name}" if model.metric else model.name
    step["Arguments"]["ProcessingOutputConfig"] = {
        "Outputs": [
            {
                "OutputName": "evaluation",
                "AppManaged": False,
                "S3Output": {
                    "S3Uri": evaluations(project, name),
                    "LocalPath": f"{PROCESSING}/evaluation",
                    "S3UploadMode": "EndOfJob",
                },
            }
        ]
    }
    return step | {"CacheConfig": _CACHE}


def smoke(project: Project, name: str, deploy: str, *more: str) -> Step:
    """Waits for the endpoint of the step `deploy`, and invokes all that it has put there."""
    longest = _longest_roll_out(project)
    words = ["smoke", *more, "--report", f"{PROCESSING}/report", "--wait", str(longest)]
    words += ["--message", "/opt/ml/output/message"]
    inputs = {"report": {"Get": f"Steps.{deploy}.OutputParameters['Report']"}}
    step = _processing(project, name, words, inputs, 1)
    step["Arguments"]["Environment"] = {"AWS_REGION": project.region, "AWS_DEFAULT_REGION": project.region}
    step["Arguments"]["StoppingCondition"] = {"MaxRuntimeInSeconds": longest + 3600}
    return step


def _longest_roll_out(project: Project) -> int:
    """Seconds that a deploy gives it, however many instances there are then."""
    said = project.endpoint
    config = deployment_config(Rollout(said.traffic, said.traffic_percent, said.bake_seconds, ()), 2)
    return int(config["BlueGreenUpdatePolicy"]["MaximumExecutionTimeoutInSeconds"])


def registration(project: Project, model: Training, name: str) -> Step:
    container = {
        "Image": parameter("Image"),
        "ModelDataUrl": {"Get": f"Steps.Train-{name}.ModelArtifacts.S3ModelArtifacts"},
    }
    statistics = {"ContentType": "application/json", "S3Uri": join("/", evaluations(project, name), "evaluation.json")}
    return {
        "Name": f"Register-{name}",
        "Type": "RegisterModel",
        "Arguments": {
            "ModelPackageGroupName": project.model_package_group,
            "InferenceSpecification": {
                "Containers": [container],
                "SupportedContentTypes": _CONTENT_TYPES,
                "SupportedResponseMIMETypes": _ACCEPTED,
                "SupportedRealtimeInferenceInstanceTypes": [project.endpoint.instance_type],
            },
            "ModelApprovalStatus": parameter("ModelApprovalStatus"),
            "ModelMetrics": {"ModelQuality": {"Statistics": statistics}},
            "CustomerMetadataProperties": {"model": name, "framework": model.framework, "estimator": model.estimator},
        },
        "RetryPolicies": _RETRIES[:1],
    }


def function(project: Project, name: str, told: Mapping[str, Any], answers: tuple[str, ...]) -> Step:
    """A call of the project's function. answers: the names of what it returns, all text."""
    arn = f"arn:{project.partition}:lambda:{project.region}:{project.account}:function:{project.deploy_function}"
    return {
        "Name": name,
        "Type": "Lambda",
        "Arguments": dict(told),
        "FunctionArn": arn,
        "OutputParameters": [{"OutputName": answer, "OutputType": "String"} for answer in answers],
    }


def condition(name: str, left: Any, right: Any, when_so: list[Step], otherwise: list[Step] | None = None) -> Step:
    """Whether two are equal, and what follows."""
    comparison = {"Type": "Equals", "LeftValue": left, "RightValue": right}
    return {
        "Name": name,
        "Type": "Condition",
        "Arguments": {"Conditions": [comparison], "IfSteps": when_so, "ElseSteps": otherwise or []},
    }


def fail(name: str, message: Any) -> Step:
    return {"Name": name, "Type": "Fail", "Arguments": {"ErrorMessage": message}}


def _processing(project: Project, name: str, words: list[str], inputs: Mapping[str, Any], volume_gb: int) -> Step:
    """A command of our image. inputs: by name, what SageMaker puts into the folder of that name."""
    return {
        "Name": name,
        "Type": "Processing",
        "Arguments": {
            "ProcessingResources": {
                "ClusterConfig": {
                    "InstanceType": parameter("EvaluationInstanceType"),
                    "InstanceCount": 1,
                    "VolumeSizeInGB": volume_gb,
                }
            },
            "AppSpecification": {"ImageUri": parameter("Image"), "ContainerArguments": words},
            "RoleArn": project.role_arn(project.pipeline_role),
            "ProcessingInputs": [_input(name, place) for name, place in inputs.items()],
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        },
        "RetryPolicies": _RETRIES,
    }


def _input(name: str, place: Any) -> dict[str, Any]:
    return {
        "InputName": name,
        "AppManaged": False,
        "S3Input": {
            "S3Uri": place,
            "LocalPath": f"{PROCESSING}/{name}",
            "S3DataType": "S3Prefix",
            "S3InputMode": "File",
            "S3DataDistributionType": "FullyReplicated",
            "S3CompressionType": "None",
        },
    }


def _channel(name: str, place: Any, content_type: str) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": place, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "ContentType": content_type, "DataSource": {"S3DataSource": source}}


def _place(project: Project) -> str:
    return f"s3://{project.bucket}/{project.prefix}/pipeline"
