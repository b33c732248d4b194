"""What an endpoint costs a month: its instances, from the fewest to the most that scaling lets there be; and beside it
one endpoint for each model, with one instance each, as there would be without a multi-model endpoint.

The price of an hour is the caller's, or AWS's Pricing API's. It is never made up: without one there is no answer.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.aws.clients import Clients, asking
from pipeline.failed import REFUSED, WORDS, Failed
from pipeline.project.records import Project

HOURS = 730  # of a month, as AWS's own calculator has it


@dataclass(frozen=True)
class Price:
    """Dollars for an hour of one instance, and who says so."""

    dollars: float
    source: str


def told(project: Project, clients: Clients, hourly: float | None, models: int | None) -> dict[str, Any]:
    """As JSON can have it. hourly: None asks AWS; models: None counts the names that are published."""
    if hourly is not None and not math.isfinite(hourly):
        raise Failed(f"--hourly-price {hourly} is no price: say dollars, such as 0.128.", WORDS)
    price = asked_price(project, clients) if hourly is None else Price(hourly, "--hourly-price")
    fewest, most = _instances(project)
    names = published_names(project, clients) if models is None else models
    month = price.dollars * HOURS
    return {
        "instance_type": project.endpoint.instance_type,
        "region": project.region,
        "hourly_price": price.dollars,
        "price_source": price.source,
        "hours": HOURS,
        "instances": {"min": fewest, "max": most},
        "month": {"min": round(fewest * month, 2), "max": round(most * month, 2)},
        "models": names,
        "one_endpoint_per_model_month": round(names * month, 2),
    }


def lines(told: Mapping[str, Any]) -> Iterator[str]:
    """For people."""
    fewest, most = told["instances"]["min"], told["instances"]["max"]
    yield (
        f"{told['instance_type']} in {told['region']}: ${told['hourly_price']:g} an hour and instance "
        f"({told['price_source']}), {told['hours']} hours a month"
    )
    scaled = "" if fewest == most else f" to ${told['month']['max']:,.2f} with all {most}"
    yield f"This endpoint: ${told['month']['min']:,.2f} a month with {_instances_in_words(fewest)}{scaled}"
    if told["models"]:
        yield (
            f"One endpoint for each model: ${told['one_endpoint_per_model_month']:,.2f} a month "
            f"({told['models']} models, an instance each)"
        )
    else:
        yield "No model is published: --models NUMBER compares with one endpoint for each of so many."
    yield "Storage, requests and data are not in it."


def _instances_in_words(number: int) -> str:
    return "1 instance" if number == 1 else f"{number} instances"


def _instances(project: Project) -> tuple[int, int]:
    scaling, count = project.scaling, project.endpoint.instance_count
    return (scaling.min, scaling.max) if scaling else (count, count)


def published_names(project: Project, clients: Clients) -> int:
    """How many models, whatever versions each has."""
    from pipeline.artifact.published import Store

    return len({version.name or version.target_model for version in Store(project, clients).versions()})


def asked_price(project: Project, clients: Clients) -> Price:
    """Of AWS's Pricing API. Raises Failed where it has not exactly one price."""
    instance_type = project.endpoint.instance_type
    wanted = {"regionCode": project.region, "instanceName": instance_type, "productFamily": "ML Instance"}
    filters: Any = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    try:
        with asking("tell the price"):
            pages = clients.pricing.get_paginator("get_products").paginate(
                ServiceCode="AmazonSageMaker", Filters=filters
            )
            products = [json.loads(product) for page in pages for product in page["PriceList"]]
    except Failed as error:
        raise Failed(f"{error} Or say the price: --hourly-price.", error.code) from error
    prices = {price for product in products if _hosts(product, instance_type) for price in _on_demand(product)}
    if len(prices) != 1:
        raise Failed(
            f"AWS's Pricing API has {len(prices) or 'no'} prices of an hour of {instance_type} for hosting in "
            f"{project.region}, and none is made up here: say it with --hourly-price "
            f"(https://aws.amazon.com/sagemaker/pricing).",
            REFUSED,
        )
    return Price(prices.pop(), "AWS's Pricing API")


def _hosts(product: Mapping[str, Any], instance_type: str) -> bool:
    """A usage type such as EUW1-Host:ml.m5.large; the other kinds of use (training, notebooks) have others."""
    usage = str(product["product"]["attributes"].get("usagetype", ""))
    return usage.rpartition("-")[2] == f"Host:{instance_type}"


def _on_demand(product: Mapping[str, Any]) -> Iterator[float]:
    for offer in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in offer["priceDimensions"].values():
            if dimension.get("unit", "").startswith("Hr") and float(dimension["pricePerUnit"].get("USD", 0)):
                yield float(dimension["pricePerUnit"]["USD"])
