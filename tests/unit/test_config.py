"""What multi-model-server is started with, for any settings."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from container.mms import config
from container.settings import MB, Settings

ANY_SETTINGS = st.builds(
    Settings,
    port=st.integers(1, 32766),
    bind_address=st.sampled_from(["127.0.0.1", "0.0.0.0"]),
    load_timeout=st.floats(0.1, 3600),
    predict_timeout=st.floats(0.1, 3600),
    body_limit=st.integers(1, 1 << 30),
)
RUN_DIR = Path("/tmp/medley-test")


def lines(settings: Settings) -> dict[str, str]:
    """As java.util.Properties reads them."""
    return dict(line.split("=", 1) for line in config.properties(settings).splitlines())


@given(ANY_SETTINGS)
def test_both_addresses_are_the_one_that_the_platform_asks(settings: Settings) -> None:
    found = lines(settings)
    address = f"http://{settings.bind_address}:{settings.port}"
    assert found["inference_address"] == found["management_address"] == address


@given(ANY_SETTINGS)
def test_java_gives_up_later_than_we_do(settings: Settings) -> None:
    """A load that it times out itself leaves a ghost."""
    seconds = int(lines(settings)["default_response_timeout_seconds"])
    assert seconds >= max(settings.load_timeout, settings.predict_timeout) + 20


@given(ANY_SETTINGS)
def test_limit_of_a_request_is_the_settings_and_an_answers_is_left_to_its_process(settings: Settings) -> None:
    found = lines(settings)
    assert int(found["max_request_size"]) == settings.body_limit
    assert settings.body_limit < int(found["max_response_size"]) <= settings.body_limit + 2 * MB


def test_what_was_seen_to_go_wrong_is_set() -> None:
    found = lines(Settings())
    assert int(found["default_workers_per_model"]) == 1
    assert int(found["metric_time_interval"]) == 2147483647
    assert found["enable_envvars_config"] == "false"
    assert found["default_service_handler"] == config.HANDLER
    assert "default_response_timeout" not in found, "that one is in minutes"


def test_no_line_is_split_or_empty() -> None:
    text = config.properties(Settings())
    assert text.endswith("\n")
    assert all(line.count("=") == 1 and not line.endswith("=") for line in text.splitlines())


@given(ANY_SETTINGS)
def test_java_is_told_its_memory(settings: Settings) -> None:
    memory = config.Memory.of(settings, 1 << 50)
    heap, direct = _told(config.command(settings, RUN_DIR, [], memory))
    assert not memory.is_short
    assert heap * MB >= 4 * settings.body_limit
    assert direct * MB >= 2 * settings.body_limit - MB
    assert memory.all >= (heap + direct) * MB


@given(ANY_SETTINGS, st.integers(64 * MB, 1 << 40))
def test_java_gets_less_than_half_of_a_container_whatever_a_body_may_have(settings: Settings, container: int) -> None:
    memory = config.Memory.of(settings, container)
    heap, direct = _told(config.command(settings, RUN_DIR, [], memory))
    assert (heap + direct) * MB < container / 2
    assert memory.is_short == (memory != config.Memory.of(settings, 1 << 50))


def _told(command: list[str]) -> tuple[int, int]:
    """MB of heap, and of buffers."""
    heap = next(int(word[4:-1]) for word in command if word.startswith("-Xmx"))
    return heap, next(int(word.split("=")[1][:-1]) for word in command if "MaxDirectMemorySize" in word)


def test_java_runs_our_launcher_and_reads_our_config() -> None:
    command = config.command(Settings(multi_model=True), RUN_DIR, [])
    assert command[command.index("--python") + 1] == str(RUN_DIR / "bin" / "python")
    assert command[command.index("-f") + 1] == str(RUN_DIR / "config.properties")
    assert Path(command[0]).name == "java"
    assert Path(command[command.index("-cp") + 1]).is_file()


def test_java_cannot_reach_out() -> None:
    words = config.command(Settings(), RUN_DIR, [])
    for kind in ("http", "https"):
        assert f"-D{kind}.proxyHost=127.0.0.1" in words
    assert "-Dhttp.nonProxyHosts=" in words


@pytest.mark.parametrize("multi_model", [True, False])
def test_one_model_is_named_on_the_command_line_outside_multi_model_mode(multi_model: bool) -> None:
    command = config.command(Settings(multi_model=multi_model, model_dir=Path("/opt/one")), RUN_DIR, [])
    assert ("-m" in command) is not multi_model
    assert ("model=/opt/one" in command) is not multi_model


def test_launcher_stands_under_every_name_of_an_interpreter() -> None:
    assert set(config.LAUNCHER_NAMES) >= {"python", "python2", "python3"}
    assert Path(config.__file__).with_name("launcher.sh").stat().st_mode & 0o111 == 0o111
