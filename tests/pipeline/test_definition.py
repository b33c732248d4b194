"""The pipeline that medley.toml says, as plain data: held against AWS's own SDK, and against what SageMaker takes."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.failed import Failed
from pipeline.project import medley_toml
from pipeline.project.records import Endpoint, Project, Training
from pipeline.training.check import LARGEST, all_steps, count_steps, notes, problems
from pipeline.training.definition import render, slug

GOLDEN = Path(__file__).parent / "golden"
IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/medley-golden:1"


def project(*models: Training) -> Project:
    return Project("golden", "eu-central-1", "123456789012", models=models)


def model(name: str, **said: Any) -> Training:
    return Training(**{"name": name, "framework": "xgboost", "estimator": "XGBRegressor", **said})


def steps(definition: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {step["Name"]: step for step in all_steps(definition)}


def _by_sdk() -> dict[str, Any]:
    """Without what the SDK says besides, all of it empty: and with our name of a registration, which it lengthens."""
    text = (GOLDEN / "sdk_pipeline.json").read_text().replace("-RegisterModel", "")
    found: dict[str, Any] = json.loads(text)
    for step in all_steps(found):
        if step["Type"] == "RegisterModel":
            assert step["Arguments"].pop("SkipModelValidation") == "None"
            assert step["Arguments"]["ModelMetrics"].pop("Bias") == {}
            assert step["Arguments"]["ModelMetrics"].pop("Explainability") == {}
    return found


def test_definition_is_that_of_the_sdk() -> None:
    ours = render(medley_toml.read(GOLDEN / "medley.toml"), IMAGE)
    for name in ("Judge", "Add", "Deploy", "Finish"):
        told = steps(ours)[name]["Arguments"]
        assert Project.from_dict(json.loads(told["Project"])).pipeline_name == "medley-golden"
        told["Project"] = "{}"
    assert ours == _by_sdk()


def test_what_the_sdk_writes_passes_the_check() -> None:
    assert problems(json.loads((GOLDEN / "sdk_pipeline.json").read_text())) == []


def test_fifty_models_fit() -> None:
    many = [model(f"m{number}", hyperparameters={"max_depth": number}, metric="rmse", bound=1) for number in range(50)]
    definition = render(project(*many), IMAGE)
    assert problems(definition) == []
    assert len(json.dumps(definition).encode()) < LARGEST / 2
    assert count_steps(definition) == 161
    assert "50" in notes(definition)[0]
    assert notes(render(project(*many[:3]), IMAGE)) == []


def test_too_many_models_are_refused_before_they_are_sent() -> None:
    many = [model(f"m{number}", metric="rmse", bound=1) for number in range(200)]
    found = problems(render(project(*many), IMAGE))
    assert any("1,048,576" in problem for problem in found)
    assert any("SageMaker takes 200" in problem for problem in found)


def test_trainings_wait_for_nothing_and_evaluations_for_their_own() -> None:
    found = steps(render(project(model("a"), model("b")), IMAGE))
    assert "Steps." not in json.dumps(found["Train-a"])
    assert "Steps.Train-a." in json.dumps(found["Evaluate-a"])
    assert "Steps.Train-b." not in json.dumps(found["Evaluate-a"])


def test_arguments_of_two_runs_are_the_same_so_that_steps_can_be_cached() -> None:
    found = steps(render(project(model("a")), IMAGE))
    for name in ("Train-a", "Evaluate-a"):
        assert found[name]["CacheConfig"] == {"Enabled": True, "ExpireAfter": "P30D"}
        assert "Execution." not in json.dumps(found[name])


def test_names_with_slashes_and_other_letters_make_names_of_steps() -> None:
    names = ["größe/x", "größe-x", "gr-e-x", "churn"]
    assert len({slug(name) for name in names}) == 4
    assert slug("churn") == "churn"
    definition = render(project(*(model(name, metric="rmse", bound=1) for name in names)), IMAGE)
    assert problems(definition) == []
    told = steps(definition)["Deploy"]["Arguments"][f"Model-{slug('größe/x')}"]
    assert told["Std:Join"]["Values"][-1] == "größe/x"


def test_channels_are_parameters_places_below_the_data_or_places_of_their_own() -> None:
    channels = {"train": "train", "validation": "other/rows", "test": "s3://elsewhere/test"}
    definition = render(project(model("a", channels=channels)), IMAGE)
    assert problems(definition) == []
    found = steps(definition)
    places = {
        channel["ChannelName"]: channel["DataSource"]["S3DataSource"]["S3Uri"]
        for channel in found["Train-a"]["Arguments"]["InputDataConfig"]
    }
    assert places["train"] == {"Get": "Parameters.TrainingData"}
    assert places["validation"] == {"Std:Join": {"On": "/", "Values": [{"Get": "Parameters.Data"}, "other/rows"]}}
    assert "test" not in places
    inputs = found["Evaluate-a"]["Arguments"]["ProcessingInputs"]
    assert inputs[1]["S3Input"]["S3Uri"] == "s3://elsewhere/test"


def test_hyperparameters_are_texts() -> None:
    given = {"max_depth": 3, "subsample": 0.5, "tree_method": "hist", "flag": True, "layers": [1, 2]}
    found = steps(render(project(model("a", hyperparameters=given, predict_method="predict")), IMAGE))
    assert found["Train-a"]["Arguments"]["HyperParameters"] == {
        "max_depth": "3",
        "subsample": "0.5",
        "tree_method": "hist",
        "flag": "true",
        "layers": "[1, 2]",
        "framework": "xgboost",
        "estimator": "XGBRegressor",
        "target": "0",
        "predict_method": "predict",
    }


def test_column_whose_name_begins_with_a_dash_is_no_option() -> None:
    found = steps(render(project(model("a", target="-label")), IMAGE))
    assert "--target=-label" in found["Evaluate-a"]["Arguments"]["AppSpecification"]["ContainerArguments"]


@pytest.mark.parametrize("name", ["..", "a/../b", "churn.tar.gz"])
def test_name_that_could_be_no_key_is_refused_before_anything_is_trained(name: str) -> None:
    with pytest.raises(Failed, match="cannot be a model's name"):
        render(project(model(name)), IMAGE)


def _toml(folder: Path, models: str) -> Path:
    path = folder / "medley.toml"
    path.write_text(f'name = "golden"\nregion = "eu-central-1"\n{models}')
    return path


def test_model_name_used_twice_is_refused_where_it_is_written(tmp_path: Path) -> None:
    one = '[[model]]\nname = "a"\nframework = "xgboost"\nestimator = "XGBRegressor"\n'
    with pytest.raises(Failed, match=r"line 3: Two tables \[\[model\]\] have the name a"):
        medley_toml.read(_toml(tmp_path, one * 2))
    letters = ("caf\u00e9", "cafe\u0301")  # one key
    with pytest.raises(Failed, match=r"line 3: Two tables"):
        medley_toml.read(_toml(tmp_path, "".join(one.replace('"a"', f'"{name}"') for name in letters)))
    twice = project(model("a"), model("a"))
    assert "Two steps have the name Train-a" in " ".join(problems(render(twice, IMAGE)))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('metric = "acuracy"', "one of accuracy, f1_macro"),
        ("bound = 0.5", "of no metric"),
        ('metric = "auc"\nbound = nan', "number"),
        ('channels = {test = "x"}', "no `train`"),
        ('channels = {"a b" = "x", train = "t"}', "channels"),
        ('instance_type = "m5.large"', "ml.m5.large"),
        ('hyperparameters = {target = "y"}', "`target` in [[model]] is a line of its own"),
    ],
)
def test_what_a_model_cannot_be_is_refused(tmp_path: Path, line: str, said: str) -> None:
    text = f'[[model]]\nname = "a"\nframework = "xgboost"\nestimator = "XGBRegressor"\n{line}\n'
    with pytest.raises(Failed, match=r"line [3-9]") as refused:
        medley_toml.read(_toml(tmp_path, text))
    assert said in str(refused.value)


# What the check finds

BREAKS = [
    (lambda d: d.update(Version="2021"), "Version is"),
    (lambda d: d["Steps"][0].update(Name="a b"), "not of the form"),
    (lambda d: d["Steps"][0].update(Name="x" * 65), "0 to 64 are allowed"),
    (lambda d: d["Steps"][0].update(Type="Tuning"), "no type that is known"),
    (lambda d: d["Steps"][0].update(PropertyFiles=[]), "has no PropertyFiles"),
    (lambda d: d["Steps"][1].update(Name="Train-a"), "Two steps have the name Train-a"),
    (lambda d: d["Parameters"].append(d["Parameters"][0]), "Two parameters have the name Image"),
    (lambda d: d["Parameters"][0].update(DefaultValue=3), "the default 3 is no String"),
    (lambda d: d["Parameters"][0].update(Type="Text"), "'Text' is no type"),
    (lambda d: d["Parameters"][-2].update(DefaultValue="Maybe"), "none of"),
    (lambda d: d["Parameters"].pop(0), "Parameters.Image: there is no such parameter"),
    (lambda d: _arguments(d, "Train-a").update(RoleArn="me"), "RoleArn"),
    (lambda d: _arguments(d, "Train-a").pop("RoleArn"), 'Missing required parameter in input: "RoleArn"'),
    (lambda d: _arguments(d, "Train-a").update(Roles=1), "Unknown parameter"),
    (lambda d: _arguments(d, "Train-a").update(TrainingJobName="x"), "is for SageMaker Pipelines to give"),
    (lambda d: _arguments(d, "Train-a")["ResourceConfig"].update(InstanceType="ml.m5.tiny"), "is none of"),
    (lambda d: _arguments(d, "Train-a")["ResourceConfig"].update(VolumeSizeInGB=-1), "VolumeSizeInGB"),
    (lambda d: _arguments(d, "Train-a")["ResourceConfig"].update(VolumeSizeInGB="10"), "Invalid type"),
    (lambda d: _arguments(d, "Train-a")["HyperParameters"].update(long="x" * 2501), "0 to 2500 are allowed"),
    (lambda d: _arguments(d, "Evaluate-a")["ProcessingInputs"].extend([_input()] * 9), "0 to 10 are allowed"),
    (lambda d: _arguments(d, "Evaluate-a").update(RoleArn={"Get": "Steps.Train-a.Nothing"}), "says no such thing"),
    (lambda d: _arguments(d, "Evaluate-a").update(RoleArn={"Get": "Steps.Train-z.RoleArn"}), "needs the step Train-z"),
    (lambda d: _arguments(d, "Evaluate-a").update(RoleArn={"Get": "Execution.Nothing"}), "has no such property"),
    (lambda d: _arguments(d, "Evaluate-a").update(RoleArn={"Get": "Nowhere.X"}), "begins with none of"),
    (lambda d: _arguments(d, "Evaluate-a").update(RoleArn={"Get": "Steps.Judge.OutputParameters['X']"}), "Judge gives"),
    (lambda d: _step(d, "Judge").update(DependsOn=["Good"]), "no step may depend on a Condition"),
    (lambda d: _step(d, "Judge").update(DependsOn=["Register-a"]), "in another branch (Good.IfSteps)"),
    (lambda d: _step(d, "Good")["Arguments"]["IfSteps"].append(d["Steps"].pop()), "no Condition in another's branch"),
    (lambda d: _step(d, "Judge").update(FunctionArn="medley deploy"), "not of the form"),
    (lambda d: _step(d, "Train-a").update(DependsOn=["Evaluate-a"]), "wait for each other: Evaluate-a, Train-a"),
    (lambda d: _step(d, "Good")["Arguments"]["Conditions"][0].update(Type="Same"), "no kind of condition"),
    (lambda d: _step(d, "Short")["Arguments"].update(ErrorMessage="x" * 3073), "more than 3072"),
    (lambda d: d["Steps"][0].update(Description="x" * LARGEST), "1,048,576"),
]


def _step(definition: dict[str, Any], name: str) -> dict[str, Any]:
    return steps(definition)[name]


def _arguments(definition: dict[str, Any], name: str) -> dict[str, Any]:
    arguments: dict[str, Any] = _step(definition, name)["Arguments"]
    return arguments


def _input() -> dict[str, Any]:
    return {"InputName": "x", "S3Input": {"S3Uri": "s3://a/b", "S3DataType": "S3Prefix"}}


@pytest.mark.parametrize(("break_it", "said"), BREAKS, ids=[said for _, said in BREAKS])
def test_check_finds(break_it: Any, said: str) -> None:
    definition = copy.deepcopy(render(project(model("a", metric="rmse", bound=1)), IMAGE))
    assert problems(definition) == []
    break_it(definition)
    assert any(said in problem for problem in problems(definition)), problems(definition)


def test_smoke_waits_as_long_as_a_roll_out_may_take() -> None:
    slow = Endpoint("golden", traffic="linear", traffic_percent=10, bake_seconds=1800)
    definition = render(replace(project(model("a")), endpoint=slow), IMAGE)
    arguments = _arguments(definition, "Wait")
    assert arguments["AppSpecification"]["ContainerArguments"][4:6] == ["--wait", "21600"]
    assert arguments["StoppingCondition"]["MaxRuntimeInSeconds"] > 21600
