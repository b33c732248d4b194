"""The production variants of an endpoint's config, where moto knows less of them than AWS."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.sagemaker.models import FakeEndpoint

_COUNTS = ("DesiredInstanceCount", "CurrentInstanceCount")


@contextmanager
def any_instance_type(variants: list[dict[str, Any]]) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
    """moto knows some instance types only; botocore's model knows AWS's (see `tests.aws.rules`)."""
    wanted = [variant.get("InstanceType") for variant in variants]
    for variant in variants:
        if "InstanceType" in variant:
            variant["InstanceType"] = "ml.m5.large"

    def restore(kept: list[dict[str, Any]]) -> None:
        for variant, instance_type in zip(kept, wanted, strict=True):
            if instance_type:
                variant["InstanceType"] = instance_type

    yield restore


def variants_of(endpoint: FakeEndpoint, wanted: list[dict[str, Any]], response: Any) -> list[dict[str, Any]]:
    """As the new config says; as many instances as there are where the call says that they are to be kept."""
    variants = endpoint._process_production_variants(wanted)
    if response._get_param("RetainAllVariantProperties"):
        counts = {variant["VariantName"]: variant for variant in endpoint.production_variants}
        for variant in variants:
            before = counts.get(variant["VariantName"], {})
            variant.update(
                {key: before[key] for key in ("DesiredInstanceCount", "CurrentInstanceCount") if key in before}
            )
    return variants


def pending(endpoint: FakeEndpoint) -> dict[str, Any]:
    statuses = [{"Status": "TrafficShifting"}]
    variants = [
        {"VariantName": variant["VariantName"], "VariantStatus": statuses} for variant in endpoint.production_variants
    ]
    return {"EndpointConfigName": endpoint.endpoint_config_name, "ProductionVariants": variants}
