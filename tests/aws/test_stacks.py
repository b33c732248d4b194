"""The stand-in's CloudFormation does with a stack what AWS's does."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.aws.inside import client
from tests.aws.server import REGION, StandIn

TEMPLATE = """
Parameters:
  Days: {Type: Number, Default: 7, AllowedValues: [7, 14]}
  Second: {Type: String, Default: "no"}
Conditions:
  Second: !Equals [!Ref Second, "yes"]
Resources:
  Alarm:
    Type: AWS::CloudWatch::Alarm
    Properties:
      AlarmName: !Sub "${First}-alarm"
      MetricName: x
      Namespace: x
      Period: 60
      EvaluationPeriods: 1
      Statistic: Sum
      ComparisonOperator: GreaterThanThreshold
      Threshold: !Ref Days
  First:
    Type: AWS::Logs::LogGroup
    Properties: {LogGroupName: first, RetentionInDays: !Ref Days}
  Other:
    Type: AWS::Logs::LogGroup
    Condition: Second
    DeletionPolicy: Retain
    Properties: {LogGroupName: other, RetentionInDays: !If [Second, !Ref Days, 14]}
Outputs:
  Both: {Value: !Join ["+", [!Ref First, !Ref Alarm]]}
"""


@pytest.fixture
def cloudformation() -> Any:
    with StandIn() as aws:
        made = client("cloudformation", REGION)
        made.aws = aws
        yield made


def _create(cloudformation: Any, template: str = TEMPLATE, **values: str) -> None:
    cloudformation.create_stack(StackName="s", TemplateBody=template, Parameters=_parameters(values))


def _update(cloudformation: Any, **values: str) -> None:
    cloudformation.update_stack(StackName="s", UsePreviousTemplate=True, Parameters=_parameters(values))


def _parameters(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()]


def _states(cloudformation: Any, count: int) -> list[str]:
    return [cloudformation.describe_stacks(StackName="s")["Stacks"][0]["StackStatus"] for _ in range(count)]


def _groups() -> dict[str, int]:
    groups = client("logs", REGION).describe_log_groups()["logGroups"]
    return {group["logGroupName"]: group["retentionInDays"] for group in groups}


def _threshold() -> float:
    alarms = client("cloudwatch", REGION).describe_alarms(AlarmNames=["first-alarm"])["MetricAlarms"]
    return float(alarms[0]["Threshold"])


def test_stack_is_made_in_the_order_of_its_references_and_tells_its_outputs(cloudformation: Any) -> None:
    _create(cloudformation)
    assert _states(cloudformation, 2) == ["CREATE_IN_PROGRESS", "CREATE_COMPLETE"]
    told = cloudformation.describe_stacks(StackName="s")["Stacks"][0]
    assert told["Outputs"] == [{"OutputKey": "Both", "OutputValue": "first+first-alarm"}]
    assert (_groups(), _threshold()) == ({"first": 7}, 7)


def test_update_changes_what_is_named_and_no_update_is_refused(cloudformation: Any) -> None:
    _create(cloudformation)
    with pytest.raises(ClientError, match="CREATE_IN_PROGRESS state and can not be updated"):
        _update(cloudformation, Days="14")
    _states(cloudformation, 2)
    _update(cloudformation, Days="14", Second="yes")
    assert _states(cloudformation, 3)[-1] == "UPDATE_COMPLETE"
    assert (_groups(), _threshold()) == ({"first": 14, "other": 14}, 14)
    with pytest.raises(ClientError, match="No updates are to be performed"):
        _update(cloudformation, Days="14", Second="yes")


def test_update_that_fails_is_rolled_back_and_what_it_made_goes(cloudformation: Any) -> None:
    _create(cloudformation)
    _states(cloudformation, 2)
    cloudformation.aws.cloudformation.breaks("Alarm", "no")
    _update(cloudformation, Days="14", Second="yes")
    assert _states(cloudformation, 3)[-1] == "UPDATE_ROLLBACK_COMPLETE"
    assert (_groups(), _threshold()) == ({"first": 7}, 7)


def test_stack_that_goes_leaves_what_is_to_be_retained(cloudformation: Any) -> None:
    _create(cloudformation, Second="yes")
    _states(cloudformation, 2)
    cloudformation.delete_stack(StackName="s")
    assert _states(cloudformation, 1) == ["DELETE_IN_PROGRESS"]
    with pytest.raises(ClientError, match="Stack with id s does not exist"):
        _states(cloudformation, 1)
    assert _groups() == {"other": 7}


@pytest.mark.parametrize(
    ("values", "said"), [({"Days": "8"}, "AllowedValues"), ({"Day": "7"}, "do not exist in the template")]
)
def test_parameter_that_breaks_its_rule_is_refused(cloudformation: Any, values: dict[str, str], said: str) -> None:
    with pytest.raises(ClientError, match=said):
        _create(cloudformation, **values)
    assert _groups() == {}


def test_name_is_taken_once_and_roles_need_a_word_of_consent(cloudformation: Any) -> None:
    _create(cloudformation)
    with pytest.raises(ClientError, match="AlreadyExists"):
        _create(cloudformation)
    role = "Resources: {R: {Type: 'AWS::IAM::Role', Properties: {RoleName: r}}}"
    with pytest.raises(ClientError, match="CAPABILITY_NAMED_IAM"):
        cloudformation.create_stack(StackName="other", TemplateBody=role)
