"""medley.toml, and what follows from it: mistakes with their line, names, the account, and AWS's errors in words."""

import dataclasses
import json
import tomllib
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.aws import clients
from pipeline.aws.clients import Clients
from pipeline.cli.project import fitting, write
from pipeline.failed import AGAIN, REFUSED, UNREACHABLE, Failed
from pipeline.project import medley_toml, records, schema
from pipeline.project.lines import lines_of
from pipeline.project.records import Endpoint, Project, Scaling
from tests.aws.server import ACCOUNT, REGION, StandIn

WHOLE = """
name = "shop"
region = "eu-central-1"
account = "123456789012"
bucket = "shops"
prefix = "ml/medley"
[endpoint]
name = "Front"
instance_type = "ml.g5.2xlarge"
instance_count = 2
cache = "Disabled"
warm = ["churn", "a/2026-11-22T101530Z-1a2b3c4d.tar.gz"]
traffic = "linear"
traffic_percent = 20
bake_seconds = 60
environment.MEDLEY_PICKLE = "refuse"
[scaling]
min = 1
max = 4
invocations_per_instance = 1000
[alarms]
memory_percent = 80
email = "me@example.com"
[image]
frameworks = ["xgboost", "lightgbm"]
tag = "1.0"
"""


def _read(folder: Path, text: str) -> Project:
    (folder / "medley.toml").write_text(text, encoding="utf-8")
    return medley_toml.read(folder / "medley.toml")


def _mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(Failed) as told:
        _read(folder, text)
    assert told.value.code == REFUSED
    return [line.removeprefix(f"{folder}/medley.toml, ") for line in str(told.value).splitlines()]


def test_two_lines_are_a_project(tmp_path: Path) -> None:
    assert _read(tmp_path, 'name = "shop"\nregion = "eu-central-1"') == Project("shop", "eu-central-1")


def test_all_that_is_said_is_in_the_project(tmp_path: Path) -> None:
    read = _read(tmp_path, WHOLE)
    assert read.endpoint == Endpoint(
        "Front",
        "ml.g5.2xlarge",
        2,
        "Disabled",
        {"MEDLEY_PICKLE": "refuse"},
        ("churn", "a/2026-11-22T101530Z-1a2b3c4d.tar.gz"),
        "linear",
        20,
        60,
    )
    assert read.scaling == Scaling(1, 4, 1000)
    assert (read.bucket, read.prefix, read.account) == ("shops", "ml/medley", "123456789012")
    assert (read.alarms.memory_percent, read.alarms.disk_percent) == (80, 90)
    assert (read.image.frameworks, read.image.tag) == (("xgboost", "lightgbm"), "1.0")


MISTAKES = {
    'nam = "a"': ["line 1: `name` is missing", "line 1: there is no `nam`. Did you mean `name`?"],
    'name = "Shop"': ['line 1: `name` is "Shop", and it must be up to 28 small letters'],
    'name = "a--b"': ["line 1: `name`"],
    "account = 123456789012": ["line 1: `account` is 123456789012, and it must be twelve digits in quotes"],
    'region = "mars"': ['line 1: `region` is "mars", and it must be a region, such as "eu-central-1"'],
    'prefix = "/a"': ["line 1: `prefix`"],
    "[endpoint]\ninstance_cuont = 1": [
        "line 2: there is no `instance_cuont` in [endpoint]. Did you mean `instance_count`?"
    ],
    "[endpoint]\n\n# more\ninstance_count = 0": [
        "line 4: `instance_count` in [endpoint] is 0, and it must be a whole number"
    ],
    '[endpoint]\ninstance_count = "2"': ['line 2: `instance_count` in [endpoint] is "2"'],
    "[endpoint]\ninstance_count = true": ["line 2: `instance_count` in [endpoint] is True"],
    '[endpoint]\nwarm = [\n  "churn",\n  3,\n]': [
        "line 2: `warm` in [endpoint] holds 3, and it must be a list of aliases"
    ],
    '[endpoint]\ntraffic = "blue"': ['it must be "canary", "linear" or "all_at_once"'],
    '[endpoint]\ntraffic = "linear"\ntraffic_percent = 5': ["line 3: `traffic_percent` in [endpoint] is 5; linear"],
    "[endpoint.environment]\nA = 3": ["line 2: `A` in [endpoint.environment] is 3, and it must be a table of texts"],
    "[scaling]\nmin = 3\nmax = 2\ninvocations_per_instance = 1": [
        "line 3: `max` in [scaling] is 2, and must not be below"
    ],
    "[scaling]\nmin = 3": [
        "line 1: `max` in [scaling] is missing",
        "line 1: `invocations_per_instance` in [scaling] is",
    ],
    "[alarms]\nmemory_percent = 101": ["line 2: `memory_percent` in [alarms] is 101"],
    "[alarms]\nerrors_5xx = 0": ["line 2: `errors_5xx` in [alarms] is 0, and it must be"],  # it would ring always
    "[alarms]\nloading_wait_ms = inf": ["line 2: `loading_wait_ms` in [alarms] is inf"],
    '[image]\nframeworks = ["tensorflow"]': ['line 2: `frameworks` in [image] holds "tensorflow"'],
    "[image]\nframeworks = []": ["line 2: `frameworks` in [image] is []"],
    "[colour]\nx = 1": ["line 1: there is no `colour`. There can be: name, region"],
    "endpoint = 3": ["line 1: `endpoint` is 3, and it must be a table"],
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_told_with_its_line_and_what_would_be_right(tmp_path: Path, text: str) -> None:
    needed = {"name": 'name = "shop"\n', "region": 'region = "eu-central-1"\n'}
    said = tomllib.loads(text)
    table = text.startswith("[")
    lines = "".join(line for key, line in needed.items() if key not in said and "nam" not in said)
    before = lines.count("\n") if table else 0
    told = _mistakes(tmp_path, lines + text if table else text + "\n" + lines)
    for expected in MISTAKES[text]:
        start, _, rest = expected.partition(":")
        if start.startswith("line "):
            expected = f"line {int(start.removeprefix('line ')) + before}:{rest}"
        assert [line for line in told if expected in line], (expected, told)


def test_every_mistake_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = 'name = "a b"\nregion = "x"\n[[model]]\nname = "a"\n[[model]]\nframwork = "xgboost"\n'
    told = _mistakes(tmp_path, text)
    lines = [int(line.split()[1].rstrip(":")) for line in told]
    assert lines == sorted(lines)
    assert {1, 2, 6} <= set(lines)
    assert any("Did you mean `framework`?" in line and "[[model]] number 2" in line for line in told)


@pytest.mark.parametrize(
    ("text", "expected"),
    [('name = "a\n', "line 1: "), ("name = 1\nname = 2", "line 2: "), ("a = [1,", "line 1: "), ("= 3", "line 1: ")],
)
def test_what_is_no_toml_is_told_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    [told] = _mistakes(tmp_path, text)
    assert told.startswith(expected)
    assert "This is no TOML" in told


def test_a_file_that_cannot_be_read_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Failed, match=r"medley\.toml cannot be read: No such file"):
        medley_toml.read(tmp_path / "medley.toml")
    (tmp_path / "medley.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(Failed, match="is not UTF-8"):
        medley_toml.read(tmp_path / "medley.toml")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert medley_toml.find(tmp_path / "a" / "b") == tmp_path / "medley.toml"
    (tmp_path / "medley.toml").unlink()
    with pytest.raises(Failed, match="medley init"):
        medley_toml.find()


NAMES = st.text("abc", min_size=1, max_size=2)
VALUES: Any = st.recursive(
    st.integers(0, 9) | st.sampled_from(["x", "two\nlines", "[no]", "a = 1", "#"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, min_size=1, max_size=3),
    max_leaves=4,
)


@settings(max_examples=40)
@given(st.dictionaries(NAMES, VALUES, max_size=4), st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES), max_size=3))
def test_every_key_is_found_on_its_own_line(top: dict[str, Any], tables: dict[str, dict[str, Any]]) -> None:
    tables = {name: table for name, table in tables.items() if name not in top}
    text, expected = "", {}
    for table, values in [("", top), *tables.items()]:
        text += f"# {table}\n[{table}]\n" if table else ""
        for name, value in values.items():
            expected[(table, name) if table else (name,)] = text.count("\n") + 1
            text += f"{name} = {_toml(value)}\n\n"
    found = lines_of(text)
    assert {place: found[place] for place in expected} == expected
    tomllib.loads(text)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[\n" + "".join(f"  {_toml(inner)}, # one\n" for inner in value) + "]"
    return f'"""{value}"""' if isinstance(value, str) and "\n" in value else json.dumps(value)


RECORDS = {
    records.Endpoint: schema.EndpointTable,
    records.Scaling: schema.ScalingTable,
    records.Alarms: schema.AlarmsTable,
    records.Image: schema.ImageTable,
    records.Training: schema.ModelTable,
}


@pytest.mark.parametrize("record", RECORDS)
def test_the_file_can_say_all_that_the_project_has(record: Any) -> None:
    assert {field.name for field in dataclasses.fields(record)} == set(RECORDS[record].model_fields)


def test_the_project_survives_json(tmp_path: Path) -> None:
    text = WHOLE + '[[model]]\nname = "churn"\nframework = "xgboost"\nestimator = "XGBClassifier"\n'
    read = _read(tmp_path, text)
    assert Project.from_dict(json.loads(json.dumps(read.to_dict()))) == read


def test_names_follow_from_the_projects() -> None:
    known = Project("shop", "eu-central-1", "123456789012")
    assert known.bucket == "medley-shop-123456789012-eu-central-1"
    assert len(Project("x" * 28, "ap-southeast-1", "123456789012").bucket) <= 63
    assert known.model_data_url == f"s3://{known.bucket}/medley/models/"
    assert (known.endpoint.name, known.stack, known.deploy_function) == ("shop", "medley-shop", "medley-shop-deploy")
    assert known.role_arn(known.execution_role) == "arn:aws:iam::123456789012:role/medley-shop-execution"
    assert Project("a", "cn-north-1").partition == "aws-cn"
    assert known.alarm_names["loading-wait"] == "medley-shop-loading-wait"


# medley init


def test_init_writes_a_file_that_is_right_and_says_nothing_but_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, "shop", "eu-central-1")
    assert medley_toml.read(path) == Project("shop", "eu-central-1")


def test_what_the_template_comments_out_is_right_and_has_the_defaults(tmp_path: Path) -> None:
    text = medley_toml.TEMPLATE.format(name="shop", region="eu-central-1").replace("-ACCOUNT-", "-123456789012-")
    uncommented = "\n".join(
        line.removeprefix("# ") if line.startswith("# ") and _is_toml(line[2:]) else line for line in text.splitlines()
    )
    read = _read(tmp_path, uncommented)
    assert read.endpoint == Endpoint("shop", environment={"MEDLEY_PICKLE": "refuse"}, warm=("churn",))
    assert read.scaling == Scaling(1, 4, 1000)
    assert read.alarms == records.Alarms(email="you@example.com")
    assert (read.account, read.prefix, read.models[0].name) == ("123456789012", "medley", "churn")


def _is_toml(line: str) -> bool:
    try:
        return bool(tomllib.loads(line))
    except tomllib.TOMLDecodeError:
        return False


def test_a_mark_at_the_start_of_the_file_as_windows_editors_write_it_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "medley.toml"
    path.write_text('name = "shop"\nregion = "eu-central-1"\n', encoding="utf-8-sig")
    assert medley_toml.read(path).name == "shop"


def test_init_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "medley.toml").write_text("mine")
    with pytest.raises(Failed, match="is there already, and stays as it is"):
        write(tmp_path, "shop", "eu-central-1")
    assert (tmp_path / "medley.toml").read_text() == "mine"


def test_init_writes_nothing_that_would_be_refused(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="`region`"):
        write(tmp_path, "shop", "mars")
    with pytest.raises(Failed, match='`name` is "a"b", and it must be up to 28 small letters'):
        write(tmp_path, 'a"b', "eu-central-1")
    assert not (tmp_path / "medley.toml").exists()


@pytest.mark.parametrize(
    ("folder", "name"), [("My Models!", "my-models"), ("2nd", "nd"), ("éé", "models"), ("x" * 40, "x" * 28)]
)
def test_a_folders_name_becomes_a_projects(folder: str, name: str) -> None:
    assert fitting(folder) == name


# The account, the region, and AWS's errors


def test_the_account_is_the_callers_where_the_file_does_not_say_it(aws: StandIn) -> None:
    known = Clients.of(Project("shop", REGION)).resolve(Project("shop", REGION))
    assert (known.account, known.bucket) == (ACCOUNT, f"medley-shop-{ACCOUNT}-{REGION}")


def test_an_endpoint_url_goes_before_the_variable_and_a_services_own_goes_before_it(
    aws: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert Clients(REGION, endpoint_url=aws.url).check_account() == ACCOUNT
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", aws.url)
    assert Clients(REGION, endpoint_url="http://127.0.0.1:9").check_account() == ACCOUNT


def test_each_services_variable_is_boto3s(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Clients(REGION, endpoint_url="http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    for name in (name for name, kind in vars(Clients).items() if isinstance(kind, cached_property)):
        service = getattr(ours, name).meta.service_model.service_id.hyphenize().upper().replace("-", "_")
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", "http://127.0.0.1:10")
        assert getattr(replace(ours), name).meta.endpoint_url == "http://127.0.0.1:10", name


@pytest.mark.parametrize(
    ("how", "code", "says"),
    [
        ("denied", REFUSED, "may not call GetCallerIdentity"),
        ("throttle", AGAIN, "Run the same command again in a while"),
        ("500", AGAIN, "Run the same command again in a while"),
        ("timeout", UNREACHABLE, "it did not answer. Whether it was done is not known"),
    ],
)
def test_errors_of_aws_are_sentences_with_what_to_do(aws: StandIn, how: str, code: int, says: str) -> None:
    aws.fail("GetCallerIdentity", how)
    with pytest.raises(Failed, match=says) as told:
        Clients(REGION, attempts=1).check_account()
    assert told.value.code == code
    assert str(told.value).startswith("AWS could not say whose account this is: ")


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (NoCredentialsError(), REFUSED, "aws configure"),
        (ProfileNotFound(profile="nope"), REFUSED, "(nope) could not be found. Mend AWS_PROFILE"),
        (ReadTimeoutError(endpoint_url="x"), UNREACHABLE, "it did not answer"),
        (EndpointConnectionError(endpoint_url="https://sts"), UNREACHABLE, "Is the network there"),
        (
            ClientError({"Error": {"Code": "ExpiredToken", "Message": "It expired"}}, "PutObject"),
            REFUSED,
            "log in again",
        ),
        (ClientError({}, "PutObject"), REFUSED, "it gave no reason."),
    ],
)
def test_errors_of_boto3_are_sentences_with_what_to_do(error: Any, code: int, says: str) -> None:
    told = clients.failed(error, "publish")
    assert told.code == code
    assert says in str(told)


def test_the_example_of_the_docs_is_right(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/deploy.md").read_text()
    example = page.partition("```toml\n")[2].partition("```")[0]
    assert _read(tmp_path, example).endpoint.warm == ("churn",)
    told = page.partition("AWS is asked anything:\n\n```\n")[2].partition("```")[0]
    text = 'name = "a"\nregion = "eu-west-1"\n\n[endpoint]\n\ninstance_cuont = 1\n' + "\n" * 3
    text += "[scaling]\nmin = 3\nmax = 2\ninvocations_per_instance = 1\n"
    assert _mistakes(tmp_path, text) == [line.removeprefix("medley.toml, ") for line in told.splitlines()]
