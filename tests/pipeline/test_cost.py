"""medley cost: what the caller or AWS says an hour costs, and nothing made up."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from pipeline.aws.clients import Clients
from pipeline.deploy import cost
from pipeline.failed import WORDS, Failed
from pipeline.project.records import Endpoint
from tests.aws.server import REGION, StandIn
from tests.pipeline.account import PROJECT, make_bucket
from tests.pipeline.answering import Answer, Answering


def product(usage: str, price: str = "0.1280000000") -> str:
    """As the Pricing API writes one: JSON in a string."""
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": price}}
    terms = {"OnDemand": {"SKU.TERM": {"priceDimensions": {"SKU.TERM.RATE": dimension}}}}
    attributes = {"usagetype": usage, "instanceName": "ml.m5.large", "regionCode": REGION}
    return json.dumps({"product": {"productFamily": "ML Instance", "attributes": attributes}, "terms": terms})


@pytest.fixture
def products() -> list[str]:
    return [product("EUW1-Host:ml.m5.large"), product("EUW1-Train:ml.m5.large", "0.9"), product("EUW1-Notebk:x")]


@pytest.fixture
def pricing(products: list[str], aws: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    def answer(_: Any) -> Answer:
        body = json.dumps({"FormatVersion": "aws_v1", "PriceList": products}).encode()
        return Answer(body, headers={"Content-Type": "application/x-amz-json-1.1"})

    with Answering(answer) as pricing:
        monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", pricing.url)
        yield pricing


@pytest.fixture
def clients(aws: StandIn) -> Clients:
    clients = Clients.of(PROJECT, attempts=1)
    make_bucket(clients)
    return clients


@pytest.fixture
def publish(clients: Clients) -> Callable[[str], object]:
    return lambda target: clients.s3.put_object(Bucket=PROJECT.bucket, Key=PROJECT.models_prefix + target, Body=b"")


def test_price_that_is_given_is_multiplied_and_compared_with_an_endpoint_for_each_model(
    clients: Clients, publish: Callable[[str], object]
) -> None:
    for target in ("churn/2026-11-22T101530Z-1a2b3c4d", "churn/2026-11-23T101530Z-1a2b3c4e", "wine"):
        publish(f"{target}.tar.gz")
    told = cost.told(PROJECT, clients, 0.1, None)
    assert told["instances"] == {"min": 1, "max": 4}
    assert told["month"] == {"min": 73.0, "max": 292.0}
    assert (told["models"], told["one_endpoint_per_model_month"]) == (2, 146.0), "two names, whatever versions"
    text = "\n".join(cost.lines(told))
    assert "$73.00 a month with 1 instance to $292.00 with all 4" in text
    assert "$146.00 a month (2 models, an instance each)" in text


def test_price_of_hosting_is_asked_of_aws(clients: Clients, pricing: Answering) -> None:
    told = cost.told(replace(PROJECT, scaling=None), clients, None, 50)
    assert told["hourly_price"] == 0.128
    assert told["price_source"] == "AWS's Pricing API"
    assert told["one_endpoint_per_model_month"] == 4672.0
    asked = {item["Field"]: item["Value"] for item in json.loads(pricing.asked[0].body)["Filters"]}
    assert asked == {"regionCode": REGION, "instanceName": "ml.m5.large", "productFamily": "ML Instance"}


@pytest.mark.parametrize("more", [[], [product("EUW1-Host:ml.m5.large", "0.2"), product("EUW1-Host:ml.m5.large")]])
def test_no_price_or_two_are_no_price(
    clients: Clients, pricing: Answering, products: list[str], more: list[str]
) -> None:
    products[:] = more
    with pytest.raises(Failed, match=f"has {len(more) or 'no'} prices .* --hourly-price"):
        cost.told(PROJECT, clients, None, 1)


def test_pricing_that_cannot_be_asked_says_how_to_go_on(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", "http://127.0.0.1:9")
    with pytest.raises(Failed, match="Or say the price: --hourly-price"):
        cost.told(PROJECT, clients, None, 1)


@pytest.mark.parametrize("price", ["nan", "inf"])
def test_price_that_is_no_number_is_refused(clients: Clients, price: str) -> None:
    with pytest.raises(Failed, match=f"--hourly-price {price} is no price") as refusal:
        cost.told(PROJECT, clients, float(price), 1)
    assert refusal.value.code == WORDS


def test_without_scaling_there_is_one_number(clients: Clients) -> None:
    project = replace(PROJECT, scaling=None, endpoint=Endpoint("shop", instance_count=2))
    told = cost.told(project, clients, 1.0, None)
    assert told["month"] == {"min": 1460.0, "max": 1460.0}
    text = "\n".join(cost.lines(told))
    assert "with 2 instances" in text
    assert "No model is published" in text
