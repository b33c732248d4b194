"""The numbers: for Prometheus, for CloudWatch, and where the time of a cold start went."""

import json
import urllib.request

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from container.endpoint import emf
from container.endpoint.metrics import OTHERS, Metrics, Waiting

from .rig import Rig

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def _samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def test_each_model_has_its_numbers(rig: Rig) -> None:
    rig.put("churn.tar.gz", bytes=4096)
    rig.put("bad.tar.gz", status=500)
    for _ in range(3):
        rig.answerer("churn.tar.gz")
    with pytest.raises(rig.client.exceptions.ModelError):
        rig.invoke("bad.tar.gz")
    rig.manage("unload", "bad.tar.gz")
    with urllib.request.urlopen(rig.url + "/metrics", timeout=20) as response:
        samples = _samples(response.read().decode())
    churn = {"target_model": "churn.tar.gz"}
    assert _value(samples, "medley_invocations_total", **churn, outcome="ok") == 3
    assert _value(samples, "medley_invocations_total", target_model="bad.tar.gz", outcome="error") == 1
    assert _value(samples, "medley_cache_total", **churn, found="hit") == 2
    assert _value(samples, "medley_cache_total", **churn, found="miss") == 1
    assert _value(samples, "medley_loads_total", **churn, outcome="loaded") == 1
    assert _value(samples, "medley_unloads_total", target_model="bad.tar.gz", reason="asked for") == 1
    assert _value(samples, "medley_invocation_seconds_count", **churn) == 3
    assert _value(samples, "medley_model_bytes", **churn) == 4096
    assert _value(samples, "medley_models") == 1
    for part in ("fetch", "unpack", "other", "answer", "first_predict"):
        assert _value(samples, "medley_cold_start_seconds_count", **churn, part=part) == 1


def test_cold_start_is_told_in_its_parts_with_the_containers_own(rig: Rig) -> None:
    rig.put("churn.tar.gz", bytes=1)
    rig.answerer("churn.tar.gz")
    parts = rig.listing()["churn.tar.gz"]["parts"]
    assert list(parts) == ["fetch", "unpack", "unpickle", "answer", "first_predict"]
    assert all(value >= 0 for value in parts.values())


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=40))
def test_labels_are_bounded_and_escaped(names: list[str]) -> None:
    metrics = Metrics(most_models=5)
    for name in names:
        metrics.called(name, 0.01, good=True)
        metrics.loaded(name, None)
    samples = _samples(metrics.text().decode())
    seen = {dict(labels)["target_model"] for name, labels in samples if name == "medley_invocations_total"}
    assert seen <= {*list(dict.fromkeys(names))[:5], OTHERS}
    assert sum(value for (name, _), value in samples.items() if name == "medley_invocations_total") == len(names)


def test_name_that_is_not_in_the_store_gets_no_series(rig: Rig) -> None:
    with pytest.raises(rig.client.exceptions.ValidationError):
        rig.invoke("nothing.tar.gz")
    assert b"nothing" not in rig.metrics.text()


def test_emf_line_is_what_cloudwatch_takes_and_counts_from_one_line_to_the_next() -> None:
    metrics = Metrics()
    metrics.called("a", 0.25, good=True)
    metrics.called("a", 0.75, good=False)
    metrics.looked_up("a", hit=True)
    (line,) = emf.lines(metrics.waiting(), {"a": 4096.0}, "shop", now=1.5)
    told = json.loads(line)
    directive = told["_aws"]["CloudWatchMetrics"][0]
    assert told["_aws"]["Timestamp"] == 1500
    assert directive["Dimensions"] == [["EndpointName", "TargetModel"]]
    assert {metric["Name"] for metric in directive["Metrics"]} <= told.keys()
    assert (told["EndpointName"], told["TargetModel"]) == ("shop", "a")
    assert (told["Invocations"], told["Errors"], told["Hits"]) == (2, 1, 1)
    assert (told["LatencyMean"], told["LatencyMax"], told["Memory"]) == (500.0, 750.0, 4096)
    assert list(emf.lines(metrics.waiting(), {}, "shop")) == []


def test_emf_line_has_the_parts_of_the_cold_starts_of_its_minute(rig: Rig) -> None:
    rig.put("churn.tar.gz", bytes=4096)
    rig.answerer("churn.tar.gz")
    rig.until("churn.tar.gz", bytes=4096)
    counted = [*rig.metrics.waiting()]
    while "first_predict" not in counted[0][1].parts:  # they are counted beside the call, when the log has told its own
        counted = [*rig.metrics.waiting()] or counted
    (line,) = emf.lines(counted, rig.metrics.memory(), "shop")
    told = json.loads(line)
    parts = {"ColdFetch", "ColdUnpack", "ColdOther", "ColdAnswer", "ColdFirstPredict"}
    assert parts == {name for name in told if name.startswith("Cold")}
    assert parts <= {metric["Name"] for metric in told["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    assert told["Memory"] == 4096


def test_two_cold_starts_of_a_minute_are_told_in_the_mean() -> None:
    metrics = Metrics()
    for parts in ({"fetch": 1.0}, {"fetch": 2.0, "unpack": 4.0}):
        metrics.started("a", parts)
    (line,) = emf.lines(metrics.waiting(), {}, "x")
    assert (json.loads(line)["ColdFetch"], json.loads(line)["ColdUnpack"]) == (1.5, 2.0)


def test_no_series_says_only_when_it_was_made(rig: Rig) -> None:
    rig.put("churn.tar.gz")
    rig.answerer("churn.tar.gz")
    assert b"_created" not in rig.metrics.text()


@given(st.text(max_size=50), st.builds(Waiting, st.integers(0, 99), seconds=st.floats(0, 1e6)))
def test_emf_line_is_one_line_of_json(name: str, waiting: Waiting) -> None:
    (line,) = emf.lines([(name, waiting)], {}, "x")
    assert "\n" not in line
    told = json.loads(line)["TargetModel"]
    assert told == name or not name.isascii() or not name.isprintable() or name[:1] in " :"
    assert told.isascii()
    assert told.isprintable()
    assert told.strip()
    assert not told.startswith(":")
