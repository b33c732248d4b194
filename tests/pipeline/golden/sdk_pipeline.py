"""The pipeline of medley.toml by AWS's own SDK, whose JSON is sdk_pipeline.json: what definition.py is held against.

Made once, with sagemaker 2.257.7 (300 MB, so it is no dependency of the tests), without network:

    python -m venv sdk && sdk/bin/pip install 'sagemaker==2.257.7'
    sdk/bin/python tests/pipeline/golden/sdk_pipeline.py
"""

import json
import logging
from pathlib import Path

import boto3
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from sagemaker.lambda_helper import Lambda
from sagemaker.model_metrics import MetricsSource, ModelMetrics
from sagemaker.processing import ProcessingInput, ProcessingOutput, Processor
from sagemaker.workflow.condition_step import ConditionStep
from sagemaker.workflow.conditions import ConditionEquals
from sagemaker.workflow.execution_variables import ExecutionVariables
from sagemaker.workflow.fail_step import FailStep
from sagemaker.workflow.functions import Join
from sagemaker.workflow.lambda_step import LambdaOutput, LambdaStep
from sagemaker.workflow.parameters import ParameterFloat, ParameterInteger, ParameterString
from sagemaker.workflow.pipeline import Pipeline
from sagemaker.workflow.pipeline_context import PipelineSession
from sagemaker.workflow.retry import (
    SageMakerJobExceptionTypeEnum,
    SageMakerJobStepRetryPolicy,
    StepExceptionTypeEnum,
    StepRetryPolicy,
)
from sagemaker.workflow.step_collections import RegisterModel
from sagemaker.workflow.steps import CacheConfig, ProcessingStep, TrainingStep

ACCOUNT, REGION, BUCKET = "123456789012", "eu-central-1", "medley-golden-123456789012-eu-central-1"
PLACE = f"s3://{BUCKET}/medley/pipeline"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/medley-golden-pipeline"
FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:medley-golden-deploy"
METRICS = ("accuracy", "f1_macro", "log_loss", "auc", "rmse", "mae", "r2")
MODELS = {  # by name: hyperparameters, metric, bound
    "deep": ({"max_depth": 6, "framework": "xgboost", "estimator": "XGBRegressor", "target": "0"}, "rmse", 3.0),
    "linear": ({"framework": "sklearn", "estimator": "linear_model.Ridge", "target": "0"}, "r2", 0.25),
}

session = PipelineSession(boto3.Session(region_name=REGION), default_bucket=BUCKET)
cache = CacheConfig(enable_caching=True, expire_after="P30D")
step_retry = StepRetryPolicy(
    [StepExceptionTypeEnum.SERVICE_FAULT, StepExceptionTypeEnum.THROTTLING], 2.0, interval_seconds=10, max_attempts=5
)
retries = [
    step_retry,
    SageMakerJobStepRetryPolicy(
        [SageMakerJobExceptionTypeEnum.CAPACITY_ERROR, SageMakerJobExceptionTypeEnum.RESOURCE_LIMIT],
        backoff_rate=1.5,
        interval_seconds=60,
        expire_after_mins=240,
    ),
    SageMakerJobStepRetryPolicy(
        failure_reason_types=[SageMakerJobExceptionTypeEnum.INTERNAL_ERROR],
        backoff_rate=2.0,
        interval_seconds=30,
        max_attempts=2,
    ),
]
image = ParameterString("Image", default_value=f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/medley-golden:1")
training_data = ParameterString("TrainingData", default_value=f"{PLACE}/data/train")
test_data = ParameterString("TestData", default_value=f"{PLACE}/data/test")
training_type = ParameterString("TrainingInstanceType", default_value="ml.m5.large")
training_count = ParameterInteger("TrainingInstanceCount", default_value=1)
evaluation_type = ParameterString("EvaluationInstanceType", default_value="ml.m5.large")
endpoint = ParameterString("EndpointName", default_value="golden")
approval = ParameterString(
    "ModelApprovalStatus", default_value="Approved", enum_values=["Approved", "PendingManualApproval", "Rejected"]
)
bounds = {name: ParameterFloat(f"Bound-{name}", default_value=bound) for name, (_, _, bound) in MODELS.items()}


def processor(volume: int, seconds: int, env: dict[str, str] | None = None) -> Processor:
    return Processor(
        image_uri=image,
        role=ROLE,
        instance_count=1,
        instance_type=evaluation_type,
        volume_size_in_gb=volume,
        max_runtime_in_seconds=seconds,
        env=env,
        sagemaker_session=session,
    )


def given(name: str, source: object) -> ProcessingInput:
    return ProcessingInput(source=source, destination=f"/opt/ml/processing/{name}", input_name=name)


def smoke(name: str, deploy: LambdaStep, *more: str) -> ProcessingStep:
    words = ["smoke", *more, "--report", "/opt/ml/processing/report", "--wait", "4200"]
    env = {"AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION}
    ran = processor(1, 7800, env).run(
        inputs=[given("report", deploy.properties.Outputs["Report"])],
        arguments=[*words, "--message", "/opt/ml/output/message"],
    )
    return ProcessingStep(name, step_args=ran, retry_policies=retries)


trainings, evaluations, registrations, told = [], [], [], {"Project": "{}"}
for name, (hyperparameters, metric, _) in MODELS.items():
    estimator = Estimator(
        image_uri=image,
        role=ROLE,
        instance_count=training_count,
        instance_type=training_type,
        volume_size=10,
        max_run=3600,
        output_path=f"{PLACE}/trainings",
        hyperparameters=hyperparameters,
        metric_definitions=[
            {"Name": f"{channel}:{metric}", "Regex": f"{channel}:{metric}=([0-9.eE+-]+)"}
            for channel in ("train", "validation")
            for metric in METRICS
        ],
        disable_profiler=True,
        debugger_hook_config=False,
        sagemaker_session=session,
    )
    train = TrainingStep(
        f"Train-{name}",
        step_args=estimator.fit({"train": TrainingInput(training_data, content_type="text/csv")}),
        description=f"{hyperparameters['framework']} {hyperparameters['estimator']}",
        cache_config=cache,
        retry_policies=retries,
    )
    artifact = train.properties.ModelArtifacts.S3ModelArtifacts
    place = Join("/", [f"{PLACE}/evaluations", train.properties.TrainingJobName])
    words = ["evaluate", "/opt/ml/processing/model/model.tar.gz", "--data", "/opt/ml/processing/test", "--target=0"]
    words += ["--content-type", "text/csv", "--output", "/opt/ml/processing/evaluation/evaluation.json"]
    words += ["--sample", "/opt/ml/processing/evaluation/sample.json", "--message", "/opt/ml/output/message"]
    ran = processor(10, 3600).run(
        inputs=[given("model", artifact), given("test", test_data)],
        outputs=[ProcessingOutput("/opt/ml/processing/evaluation", place, "evaluation")],
        arguments=words,
    )
    evaluate = ProcessingStep(
        f"Evaluate-{name}",
        step_args=ran,
        description=f"{metric} of {name}",
        cache_config=cache,
        retry_policies=retries,
    )
    statistics = MetricsSource("application/json", Join("/", [place, "evaluation.json"]))
    register = RegisterModel(
        name=f"Register-{name}",
        estimator=estimator,
        model_data=artifact,
        content_types=["text/csv", "application/json", "application/jsonlines", "application/x-npy", "text/libsvm"],
        response_types=["application/json", "text/csv", "application/jsonlines", "application/x-npy"],
        inference_instances=["ml.m5.large"],
        model_package_group_name="medley-golden",
        approval_status=approval,
        image_uri=image,
        model_metrics=ModelMetrics(model_statistics=statistics),
        customer_metadata_properties={
            "model": name,
            "framework": hyperparameters["framework"],
            "estimator": hyperparameters["estimator"],
        },
        register_model_step_retry_policies=[step_retry],
    )
    trainings.append(train)
    evaluations.append(evaluate)
    registrations.append(register)
    told[f"Model-{name}"] = Join(" ", [artifact, place, metric, bounds[name], name])


def function(name: str, inputs: dict[str, object], outputs: tuple[str, ...], after: list[object]) -> LambdaStep:
    answers = [LambdaOutput(output) for output in outputs]
    return LambdaStep(name, Lambda(function_arn=FUNCTION), inputs=inputs, outputs=answers, depends_on=after)


deploying = {
    "Action": "deploy",
    "EndpointName": endpoint,
    "Image": image,
    "Execution": ExecutionVariables.PIPELINE_EXECUTION_ID,
    **told,
}
judging = {**deploying, "Action": "judge", "Approval": approval}
judge = function("Judge", judging, ("Verdict", "Way", "Sentence"), evaluations)
answers = ("Moves", "Report", "EndpointName", "Sentence")
add, deploy = (function(name, deploying, answers, []) for name in ("Add", "Deploy"))
wait = smoke("Wait", deploy, "--only-wait")
finish = function("Finish", deploying, answers, [wait])
adds = ConditionStep(
    "Adds",
    conditions=[ConditionEquals(judge.properties.Outputs["Way"], "add")],
    if_steps=[add, smoke("SmokeAdded", add)],
    else_steps=[],
)
moves = ConditionStep(
    "Moves",
    conditions=[ConditionEquals(judge.properties.Outputs["Way"], "deploy")],
    if_steps=[deploy, wait, finish, smoke("Smoke", finish)],
    else_steps=[],
)
why = Join("", ["golden: nothing was deployed. ", judge.properties.Outputs["Sentence"]])
good = ConditionStep(
    "Good",
    conditions=[ConditionEquals(judge.properties.Outputs["Verdict"], "good")],
    if_steps=registrations,
    else_steps=[FailStep("Short", why)],
)
pipeline = Pipeline(
    "medley-golden",
    parameters=[
        image,
        training_data,
        test_data,
        training_type,
        training_count,
        evaluation_type,
        endpoint,
        approval,
        *bounds.values(),
    ],
    steps=[*(step for pair in zip(trainings, evaluations, strict=True) for step in pair), judge, good, adds, moves],
    sagemaker_session=session,
)
logging.disable()
Path(__file__).with_suffix(".json").write_text(json.dumps(json.loads(pipeline.definition()), indent=1) + "\n")
