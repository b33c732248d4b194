"""Deploys and roll-backs against the stand-in: real calls, endpoints that take their time, fail and roll back."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from moto.logs.models import logs_backends

from pipeline.aws.clients import Clients
from pipeline.deploy import observed
from pipeline.deploy.plan import rolls_out
from pipeline.deploy.records import PREVIOUS
from pipeline.deploy.run import Order, begin, carry_out, planned, planned_rollback
from pipeline.deploy.steps import NotServing, RolledBack, show
from pipeline.deploy.wait import last_lines
from pipeline.failed import AGAIN, REFUSED, Failed
from pipeline.project.records import Endpoint
from tests.aws.server import ACCOUNT, REGION, StandIn
from tests.pipeline.account import AT_ONCE, PROJECT, built, deployed, names, serves, with_image


@pytest.fixture
def clients(aws: StandIn) -> Clients:
    """Of an account where `medley bootstrap` was, with one image built."""
    return with_image()


def test_first_deploy_serves_and_the_second_has_nothing_to_do(aws: StandIn, clients: Clients) -> None:
    done = deployed(clients)
    assert done["done"] == "done"
    assert observed.describe(clients, "shop").status == "InService"
    assert observed.target(clients, "shop") == (1, 4)
    changes = len(aws.calls)
    again = deployed(clients)
    assert again["done"] == "nothing to do"
    assert all(operation.startswith(("Describe", "List", "Get")) for _, operation in aws.calls[changes:])


def test_model_is_multi_model_with_what_medley_toml_says(clients: Clients) -> None:
    endpoint = Endpoint("shop", "ml.c5.xlarge", 3, "Disabled", {"MEDLEY_FRONT": "native"})
    done = deployed(clients, replace(PROJECT, endpoint=endpoint))
    variant = clients.sagemaker.describe_endpoint_config(EndpointConfigName=done["config"])["ProductionVariants"][0]
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.c5.xlarge", 3)
    model = clients.sagemaker.describe_model(ModelName=variant["ModelName"])
    assert model["ExecutionRoleArn"] == f"arn:aws:iam::{ACCOUNT}:role/medley-shop-execution"
    container = model["PrimaryContainer"]
    assert container["Image"] == f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/medley-shop@sha256:{1:064x}"
    assert container["Mode"] == "MultiModel"
    assert container["ModelDataUrl"] == f"s3://medley-shop-{ACCOUNT}-{REGION}/medley/models/"
    assert container["MultiModelConfig"] == {"ModelCacheSetting": "Disabled"}
    assert container["Environment"] == {"MEDLEY_FRONT": "native"}


def test_new_image_is_rolled_out_and_alarms_can_roll_it_back(aws: StandIn, clients: Clients) -> None:
    first = deployed(clients)
    second = built(clients, 2)
    done = deployed(clients)
    assert serves(clients) == second
    config = aws.sagemaker.deployment_config("shop")
    assert config
    assert len(config["AutoRollbackConfiguration"]["Alarms"]) == 4
    tags = observed.tags_of(clients, observed.describe(clients, "shop").answer["EndpointArn"])
    assert tags[PREVIOUS] == first["config"]
    assert any("Updating" in line for line in done["said"]), "progress is told"


def test_dry_run_prints_the_calls_that_the_deploy_then_makes(aws: StandIn, clients: Clients) -> None:
    plan = planned(PROJECT, clients)
    before, lines = len(aws.calls), []
    show(plan.steps, lines.append)
    assert len(aws.calls) == before
    carry_out(plan, clients, lambda _: None, AT_ONCE)
    made = [operation for _, operation in aws.calls[before:] if not operation.startswith(("Describe", "List"))]
    shown = [line.split()[0].partition(".")[2] for line in lines if line.startswith("   ")]
    assert [name.title().replace("_", "") for name in shown] == made


def test_roll_out_that_an_alarm_ends_says_why_and_shows_the_log(aws: StandIn, clients: Clients) -> None:
    deployed(clients)
    old = serves(clients)
    built(clients, 2)
    _log(clients, "i-1", "import of xgboost failed: no libgomp")
    aws.sagemaker.goes("shop", "RollingBack", reason="Alarm medley-shop-5xx was in ALARM")
    with pytest.raises(RolledBack) as failure:
        deployed(clients)
    assert "Alarm medley-shop-5xx was in ALARM." in str(failure.value)
    assert "as before" in str(failure.value)
    assert failure.value.log == ("import of xgboost failed: no libgomp",)
    assert serves(clients) == old
    assert observed.target(clients, "shop") == (1, 4)
    assert deployed(clients)["done"] == "done", "deploying again is how it is mended"


def test_roll_back_that_fails_as_well_is_told_and_deploying_again_mends_it(aws: StandIn, clients: Clients) -> None:
    deployed(clients)
    second = built(clients, 2)
    aws.sagemaker.goes("shop", "UpdateRollbackFailed", reason="There is no capacity")
    with pytest.raises(NotServing, match=r"There is no capacity\. The update has failed, and so has its roll-back"):
        deployed(clients)
    deployed(clients)
    assert (serves(clients), observed.describe(clients, "shop").status) == (second, "InService")


def test_wait_has_an_end_and_the_roll_out_goes_on(aws: StandIn, clients: Clients) -> None:
    aws.sagemaker.goes("shop", "InService", looks=50)
    with pytest.raises(Failed, match="it goes on at AWS") as failure:
        carry_out(planned(PROJECT, clients), clients, lambda _: None, replace(AT_ONCE, limit=-1.0))
    assert failure.value.code == AGAIN
    assert names(planned(PROJECT, clients))[0] == "wait until in service"


def test_scaling_is_there_again_after_another_instance_type_was_rolled_back(aws: StandIn, clients: Clients) -> None:
    deployed(clients)
    aws.sagemaker.goes("shop", "RollingBack", reason="Alarm medley-shop-5xx was in ALARM")
    with pytest.raises(RolledBack):
        deployed(clients, replace(PROJECT, endpoint=Endpoint("shop", "ml.c5.xlarge")))
    assert observed.target(clients, "shop") == (1, 4)
    assert observed.policy(clients, "shop")
    aws.sagemaker.goes("shop", "RollingBack", reason="Alarm medley-shop-5xx was in ALARM")
    aws.fail("RegisterScalableTarget", how="denied")
    with pytest.raises(RolledBack, match="Alarm medley-shop-5xx was in ALARM"):
        deployed(clients, replace(PROJECT, endpoint=Endpoint("shop", "ml.c5.xlarge")))


def test_log_is_that_of_the_new_fleet_though_the_old_one_writes_on(clients: Clients) -> None:
    _log(clients, "i-new", "no libgomp")
    old = {"logGroupName": PROJECT.endpoint_logs, "logStreamName": "AllTraffic/i-old"}
    clients.logs.create_log_stream(**old)
    events: Any = [{"timestamp": int(time.time() * 1000) + 90_000, "message": "a good answer"}]
    clients.logs.put_log_events(**old, logEvents=events)
    group = logs_backends[ACCOUNT][REGION].groups[PROJECT.endpoint_logs]
    group.streams["AllTraffic/i-old"].creation_time -= timedelta(hours=1)
    assert last_lines(PROJECT, clients, time.time()) == ("no libgomp",)
    assert last_lines(PROJECT, clients, time.time() + 3600) == ("no libgomp", "a good answer"), "better than none"


def _log(clients: Clients, stream: str, *lines: str) -> None:
    group = {"logGroupName": PROJECT.endpoint_logs}
    clients.logs.create_log_group(**group)
    clients.logs.create_log_stream(**group, logStreamName=f"AllTraffic/{stream}")
    now = int(time.time() * 1000) + 60_000
    events: Any = [{"timestamp": now + place, "message": line} for place, line in enumerate(lines)]
    clients.logs.put_log_events(**group, logStreamName=f"AllTraffic/{stream}", logEvents=events)


def test_endpoint_that_fails_when_it_is_created_says_why_and_deploying_again_mends_it(
    aws: StandIn, clients: Clients
) -> None:
    aws.sagemaker.goes("shop", "Failed", reason="The primary container did not pass the ping health check")
    with pytest.raises(NotServing, match="did not pass the ping health check") as failure:
        deployed(clients)
    assert "It serves nothing. Deploying again" in str(failure.value)
    assert ("application-autoscaling", "RegisterScalableTarget") not in aws.calls, "there is nothing to scale"
    assert names(planned(PROJECT, clients))[:2] == ["delete endpoint", "wait until deleted"]
    assert deployed(clients)["done"] == "done"
    assert observed.describe(clients, "shop").status == "InService"


@pytest.mark.parametrize("state", ["Creating", "Updating", "RollingBack", "SystemUpdating"])
def test_endpoint_in_between_is_left_alone_and_told(aws: StandIn, clients: Clients, state: str) -> None:
    if state == "SystemUpdating":
        deployed(clients)
        aws.sagemaker.goes("shop", state, looks=3)
    elif state == "Creating":
        aws.sagemaker.goes("shop", "InService", looks=9)
        begin(PROJECT, clients, lambda _: None)
    else:
        deployed(clients)
        built(clients, 2)
        aws.sagemaker.goes("shop", {"Updating": "InService"}.get(state, state), looks=3)
        begin(PROJECT, clients, lambda _: None)
    while observed.describe(clients, "shop").status != state:
        pass
    built(clients, 3)
    before = len(aws.calls)
    with pytest.raises(Failed) as refusal:
        planned(PROJECT, clients)
    assert refusal.value.code == AGAIN
    assert all(operation.startswith(("Describe", "List", "Get")) for _, operation in aws.calls[before:])


def test_deploy_without_a_wait_begins_and_another_does_what_is_left(aws: StandIn, clients: Clients) -> None:
    begun = begin(PROJECT, clients, lambda _: None)
    assert begun["done"] == "begun"
    assert begun["left"] == ["wait until in service", "register scaling", "put scaling policy"]
    done = deployed(clients)
    assert [step["step"] for step in done["steps"]] == begun["left"]
    assert aws.calls.count(("sagemaker", "CreateEndpoint")) == 1


def test_of_two_deploys_at_once_the_second_is_told(clients: Clients) -> None:
    deployed(clients)
    built(clients, 2)
    first = planned(PROJECT, clients)
    built(clients, 3)
    second = planned(PROJECT, clients)
    carry_out(first, clients, lambda _: None)
    with pytest.raises(Failed, match=r"Something else was faster\. .* another deploy is at work") as refusal:
        carry_out(second, clients, lambda _: None, AT_ONCE)
    assert refusal.value.code == AGAIN
    assert first.desired.config_name in str(refusal.value)


def test_two_deploys_of_the_same_at_once_both_end_well(aws: StandIn, clients: Clients) -> None:
    both = [planned(PROJECT, clients), planned(PROJECT, clients)]
    assert carry_out(both[0], clients, lambda _: None)["done"] == "begun"
    assert carry_out(both[1], clients, lambda _: None, AT_ONCE)["done"] == "done"
    assert len(clients.sagemaker.list_models()["Models"]) == 1
    assert names(planned(PROJECT, clients)) == []


def test_three_who_deploy_at_the_same_moment_make_one_endpoint(aws: StandIn, clients: Clients) -> None:
    with ThreadPoolExecutor(3) as people:
        done = list(people.map(lambda _: deployed(Clients.of(PROJECT, attempts=1))["done"], range(3)))
    assert "done" in done
    assert set(done) <= {"done", "nothing to do"}
    assert len(clients.sagemaker.list_models()["Models"]) == 1
    assert len(clients.sagemaker.list_endpoint_configs()["EndpointConfigs"]) == 1
    assert names(planned(PROJECT, clients)) == []


def test_account_without_alarms_is_told_to_bootstrap(aws: StandIn, clients: Clients) -> None:
    clients.cloudwatch.delete_alarms(AlarmNames=["medley-shop-5xx"])
    before = len(aws.calls)
    with pytest.raises(Failed, match="medley bootstrap"):
        planned(PROJECT, clients)
    assert not [name for _, name in aws.calls[before:] if name.startswith(("Create", "Update", "Put"))]


def test_endpoint_of_another_project_is_left_alone(aws: StandIn, clients: Clients) -> None:
    deployed(clients)
    arn = observed.describe(clients, "shop").answer["EndpointArn"]
    clients.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "medley:project", "Value": "other"}])
    built(clients, 2)
    with pytest.raises(Failed, match="is of the project other, and this one is shop: nothing was done") as refusal:
        planned(PROJECT, clients)
    assert refusal.value.code == REFUSED


def test_endpoint_of_several_containers_has_no_image_to_keep(clients: Clients) -> None:
    containers: Any = [{"Image": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/x:{number}"} for number in (1, 2)]
    clients.sagemaker.create_model(ModelName="theirs", ExecutionRoleArn=PROJECT.role_arn("x"), Containers=containers)
    variant: Any = {"VariantName": "x", "ModelName": "theirs", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    clients.sagemaker.create_endpoint_config(EndpointConfigName="theirs", ProductionVariants=[variant])
    clients.sagemaker.create_endpoint(EndpointName="shop", EndpointConfigName="theirs")
    with pytest.raises(Failed, match="Nothing is deployed as shop"):
        planned(PROJECT, clients, Order("deployed"))
    with pytest.raises(Failed, match="'theirs' is no config of shop"):
        planned_rollback(PROJECT, clients, Order(to="theirs"))
    with pytest.raises(Failed, match="'' is no config of shop"):  # a variable that was not set
        planned_rollback(PROJECT, clients, Order(to=""))


def test_no_roll_out_begins_while_an_alarm_rings(clients: Clients) -> None:
    deployed(clients)
    built(clients, 2)
    clients.cloudwatch.set_alarm_state(AlarmName="medley-shop-5xx", StateValue="ALARM", StateReason="errors")
    with pytest.raises(Failed, match="In alarm: medley-shop-5xx") as refusal:
        planned(PROJECT, clients)
    assert refusal.value.code == AGAIN
    mending = planned(PROJECT, clients, Order(despite_alarms=True))
    assert rolls_out(mending.steps)
    assert "medley-shop-5xx" not in mending.desired.rollout.alarms
    assert len(mending.desired.rollout.alarms) == 3


def test_nothing_to_do_is_no_matter_of_alarms(clients: Clients) -> None:
    deployed(clients)
    clients.cloudwatch.set_alarm_state(AlarmName="medley-shop-5xx", StateValue="ALARM", StateReason="errors")
    assert planned(PROJECT, clients).steps == ()


# Images


def test_layers_that_builds_keep_are_no_image_to_deploy(clients: Clients) -> None:
    built(clients, 2, "libraries-0123456789abcdef")
    assert planned(PROJECT, clients).image.digest == f"sha256:{1:064x}"


def test_deployed_image_stays_where_it_is_asked_for(clients: Clients) -> None:
    deployed(clients)
    built(clients, 2)
    assert planned(PROJECT, clients, Order("deployed")).steps == ()


def test_deployed_image_is_taken_where_the_repository_has_no_other(clients: Clients) -> None:
    deployed(clients)
    clients.ecr.batch_delete_image(repositoryName="medley-shop", imageIds=[{"imageTag": "commit1"}])
    assert planned(PROJECT, clients).steps == ()


def test_no_image_at_all_is_told_to_build(aws: StandIn) -> None:
    clients = Clients.of(PROJECT, attempts=1)
    with pytest.raises(Failed, match="medley build"):
        planned(PROJECT, clients)


@pytest.mark.parametrize(
    ("image", "word"),
    [
        ("medley-shop:latest", "by its digest"),
        (f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/medley-shop:v1", "by its digest"),
        (f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/medley-shop@sha256:{1:064x}", "its own region"),
        (f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/medley-shop@sha256:{9:064x}", "has no image"),
        ("deployed", "Nothing is deployed"),
    ],
)
def test_image_that_cannot_be_deployed_is_refused_before_anything_is_made(
    aws: StandIn, clients: Clients, image: str, word: str
) -> None:
    before = len(aws.calls)
    with pytest.raises(Failed, match=word) as refusal:
        planned(PROJECT, clients, Order(image))
    assert refusal.value.code == REFUSED
    assert not [name for _, name in aws.calls[before:] if name.startswith("Create")]


def test_tag_beside_a_digest_is_left_out(clients: Clients) -> None:
    uri = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/medley-shop"
    chosen = planned(PROJECT, clients, Order(f"{uri}:v1@sha256:{1:064x}")).image
    assert chosen.uri == f"{uri}@sha256:{1:064x}"


# Roll-back


def test_roll_back_goes_to_the_config_before_with_the_same_safety(aws: StandIn, clients: Clients) -> None:
    first = deployed(clients)
    built(clients, 2)
    second = deployed(clients)
    back = carry_out(planned_rollback(PROJECT, clients), clients, lambda _: None, AT_ONCE)
    assert back["config"] == first["config"]
    assert serves(clients) == f"sha256:{1:064x}"
    config = aws.sagemaker.deployment_config("shop")
    assert config
    assert len(config["AutoRollbackConfiguration"]["Alarms"]) == 4
    again = planned_rollback(PROJECT, clients)
    assert again.desired.config_name == second["config"], "the one before is now the one that was left"


def test_roll_back_skips_a_config_that_is_gone(clients: Clients) -> None:
    configs = []
    for number in (1, 2, 3):
        built(clients, number) if number > 1 else None
        configs.append(deployed(clients)["config"])
    clients.sagemaker.delete_endpoint_config(EndpointConfigName=configs[1])
    assert planned_rollback(PROJECT, clients).desired.config_name == configs[0]


def test_roll_back_without_anything_before_is_refused(clients: Clients) -> None:
    with pytest.raises(Failed, match="no endpoint shop"):
        planned_rollback(PROJECT, clients)
    deployed(clients)
    with pytest.raises(Failed, match="nothing to go back to"):
        planned_rollback(PROJECT, clients)


def test_roll_back_to_a_config_that_is_named(clients: Clients) -> None:
    first = deployed(clients)
    for number in (2, 3):
        built(clients, number)
        deployed(clients)
    back = planned_rollback(PROJECT, clients, Order(to=first["config"]))
    assert back.image.digest == f"sha256:{1:064x}"
    with pytest.raises(Failed, match="is not there"):
        planned_rollback(PROJECT, clients, Order(to="shop-00000000"))


def test_old_models_and_configs_go_and_those_of_another_endpoint_stay(clients: Clients) -> None:
    first = deployed(clients)
    clients.sagemaker.create_endpoint(EndpointName="copy", EndpointConfigName=first["config"])
    for number in range(2, 8):
        built(clients, number)
        deployed(clients)
    configs = clients.sagemaker.list_endpoint_configs()["EndpointConfigs"]
    names = {config["EndpointConfigName"] for config in configs}
    assert first["config"] in names
    assert len(names) == 6
    assert len(clients.sagemaker.list_models()["Models"]) == 6


def test_polls_that_fail_for_a_while_end_no_deploy(aws: StandIn, clients: Clients) -> None:
    plan = planned(PROJECT, clients)
    aws.fail("DescribeEndpoint", how="throttle", times=3)
    assert carry_out(plan, clients, lambda _: None, AT_ONCE)["done"] == "done"
