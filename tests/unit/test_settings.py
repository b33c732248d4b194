"""The settings: every variable, what is refused, and the way to the zygote and back."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from container.settings import MB, Settings, SettingsError

EVERY_VARIABLE = {
    "SAGEMAKER_BIND_TO_PORT": ("9000", "port", 9000),
    "MEDLEY_BIND_ADDRESS": ("127.0.0.1", "bind_address", "127.0.0.1"),
    "SAGEMAKER_MULTI_MODEL": ("TRUE", "multi_model", True),
    "MEDLEY_MODEL_ROOT": ("/models", "model_root", Path("/models")),
    "MEDLEY_MODEL_DIR": ("/one", "model_dir", Path("/one")),
    "MEDLEY_MEMORY_BUDGET": ("2g", "memory_budget", 2 << 30),
    "MEDLEY_LOAD_TIMEOUT": ("12.5", "load_timeout", 12.5),
    "MEDLEY_PREDICT_TIMEOUT": ("7", "predict_timeout", 7.0),
    "MEDLEY_BODY_LIMIT": ("64k", "body_limit", 64 << 10),
    "SAGEMAKER_CONTAINER_LOG_LEVEL": ("warning", "log_level", "WARN"),
    "SAGEMAKER_MODEL_SERVER_WORKERS": ("4", "processes", 4),
    "MEDLEY_HOT_CONNECTIONS": ("16", "connections", 16),
    "MEDLEY_FRONT": ("native", "front", "native"),
    "MEDLEY_QUEUE_LIMIT": ("7", "queue", 7),
    "MEDLEY_MAX_CONNECTIONS": ("99", "max_connections", 99),
    "MEDLEY_HEADER_TIMEOUT": ("1.5", "header_timeout", 1.5),
    "MEDLEY_BODY_TIMEOUT": ("2.5", "body_timeout", 2.5),
    "MEDLEY_IDLE_TIMEOUT": ("3.5", "idle_timeout", 3.5),
    "MEDLEY_MODEL_CREDENTIALS": ("keep", "keep_credentials", True),
    "SAGEMAKER_PROGRAM": ("serve.py", "program", "serve.py"),
    "SAGEMAKER_SUBMIT_DIRECTORY": ("/code", "submit_directory", "/code"),
    "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": ("text/csv", "default_accept", "text/csv"),
    "MEDLEY_PICKLE": ("refuse", "pickles", False),
    "MEDLEY_EMF": ("on", "emf", True),
    "MEDLEY_SKOPS_TYPES": (" a.B, c.d.E,", "skops_types", "a.B,c.d.E"),
    "MEDLEY_VERSION_SKEW": ("refuse", "version_skew", "refuse"),
}
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ANY_SETTINGS = st.builds(
    Settings,
    port=st.integers(1, 32766),
    multi_model=st.booleans(),
    model_root=WORDS.map(lambda word: Path("/") / word.replace("\0", "")),
    memory_budget=st.none() | st.integers(1, 1 << 50),
    load_timeout=st.floats(0.001, 3600),
    keep_credentials=st.booleans(),
    program=WORDS,
    submit_directory=st.none() | WORDS,
)


@pytest.mark.parametrize(("name", "text", "field", "value"), [(name, *rest) for name, rest in EVERY_VARIABLE.items()])
def test_each_variable_sets_its_one_field(name: str, text: str, field: str, value: object) -> None:
    assert Settings.read({name: text}) == replace(Settings(), **{field: value})


def test_every_field_has_a_variable_that_differs_from_its_default() -> None:
    assert {field for _, field, _ in EVERY_VARIABLE.values()} == {field.name for field in fields(Settings)}
    everything = Settings.read({name: text for name, (text, _, _) in EVERY_VARIABLE.items()})
    assert not [field.name for field in fields(Settings) if getattr(everything, field.name) == field.default]


@pytest.mark.parametrize("name", EVERY_VARIABLE)
def test_empty_variable_is_as_good_as_none(name: str) -> None:
    assert Settings.read({name: ""}) == Settings()


def test_defaults_are_the_platforms_own() -> None:
    settings = Settings.read({})
    assert settings == Settings()
    assert (settings.port, settings.body_limit) == (8080, 25 * MB)
    # The platform gives up after 60 and 360 seconds: the container must have answered before.
    assert 50 <= settings.predict_timeout <= 60
    assert 300 <= settings.load_timeout < 360
    assert settings.multi_model is False


def test_payload_in_megabytes_is_sagemakers_name_for_the_body_limit() -> None:
    assert Settings.read({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "6"}).body_limit == 6 * MB
    assert Settings.read({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "6", "MEDLEY_BODY_LIMIT": "1m"}).body_limit == MB


@pytest.mark.parametrize("text", ["false", "0", "yes", "1", ""])
def test_multi_model_mode_is_true_and_nothing_else(text: str) -> None:
    assert Settings.read({"SAGEMAKER_MULTI_MODEL": text}).multi_model is False


@pytest.mark.parametrize(
    ("text", "level"),
    [("10", "DEBUG"), ("20", "INFO"), ("30", "WARN"), ("40", "ERROR"), ("debug", "DEBUG"), ("Critical", "ERROR")],
)
def test_log_level_is_read_as_a_word_or_as_pythons_number(text: str, level: str) -> None:
    assert Settings.read({"SAGEMAKER_CONTAINER_LOG_LEVEL": text}).log_level == level


@pytest.mark.parametrize(
    ("text", "size"),
    [("536870912", 536870912), ("512m", 512 << 20), ("512M", 512 << 20), ("3K", 3072), ("1g", 1 << 30)],
)
def test_sizes_are_bytes_or_have_a_unit(text: str, size: int) -> None:
    assert Settings.read({"MEDLEY_MEMORY_BUDGET": text}).memory_budget == size


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("SAGEMAKER_BIND_TO_PORT", text) for text in ("0", "-1", "65536", "eighty", "80.5", "32767", "40000", "²")),
        *(("MEDLEY_MEMORY_BUDGET", text) for text in ("0", "-5m", "m", "1.5g", "12t", "lots", "²", "5²m")),
        *(("MEDLEY_BODY_LIMIT", text) for text in ("0", "0k", "k", "1 m")),
        *(("MEDLEY_LOAD_TIMEOUT", text) for text in ("0", "-1", "nan", "inf", "soon", "3601")),
        *(("MEDLEY_PREDICT_TIMEOUT", text) for text in ("0", "nan", "1e9", "1m")),
        *(("SAGEMAKER_MODEL_SERVER_WORKERS", text) for text in ("0", "65", "two")),
        *(("MEDLEY_HOT_CONNECTIONS", text) for text in ("0", "33", "many")),
        *(("MEDLEY_FRONT", text) for text in ("java", "MMS", "mms,native")),
        *(("MEDLEY_QUEUE_LIMIT", text) for text in ("0", "none")),
        *(("MEDLEY_HEADER_TIMEOUT", text) for text in ("0", "never")),
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "0"),
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "1025"),
        ("SAGEMAKER_CONTAINER_LOG_LEVEL", "loud"),
        ("MEDLEY_MODEL_ROOT", "models"),
        ("MEDLEY_MODEL_DIR", "../model"),
    ],
)
def test_value_that_cannot_be_meant_is_refused_by_the_variables_name(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.read({name: text})
    sentence = str(refused.value)
    assert sentence.startswith(f"{name}={text}: ")
    assert sentence.endswith(".")


@given(st.sampled_from(sorted(EVERY_VARIABLE)), WORDS)
def test_any_value_is_read_or_refused_by_the_variables_name(name: str, text: str) -> None:
    sentence = f"{name}="
    try:
        Settings.read({name: text})
    except SettingsError as refused:
        sentence = str(refused)
    assert sentence.startswith(f"{name}=")


@given(ANY_SETTINGS)
def test_settings_reach_the_zygote_as_they_are(settings: Settings) -> None:
    text = settings.to_json()
    assert "\n" not in text, "it is one line of the zygote's stdin"
    assert Settings.from_json(text) == settings


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Settings().port = 1  # type: ignore[misc]


def test_front_without_java_listens_on_any_port() -> None:
    assert Settings.read({"MEDLEY_FRONT": "native", "SAGEMAKER_BIND_TO_PORT": "65535"}).port == 65535
    with pytest.raises(SettingsError, match="MEDLEY_FRONT=native"):
        Settings.read({"SAGEMAKER_BIND_TO_PORT": "65535"})


def test_only_the_native_front_listens_on_ipv6() -> None:
    with pytest.raises(SettingsError, match=r"MEDLEY_BIND_ADDRESS=::.*MEDLEY_FRONT=native"):
        Settings.read({"MEDLEY_BIND_ADDRESS": "::"})
    assert Settings.read({"MEDLEY_BIND_ADDRESS": "::", "MEDLEY_FRONT": "native"}).bind_address == "::"
