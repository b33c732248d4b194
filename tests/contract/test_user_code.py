"""Where a user's code lives in the container, what it can import, and what becomes of what it prints."""

import json

import pytest

from tests.container import Container

from .rig import ASK, Serve, code, readable_folder, running, serve_in

# Where the user's code lives.


def test_users_modules_of_our_names_are_the_ones_that_it_gets(serve: Serve) -> None:
    names = ("pipeline", "serving", "container", "medley")
    modules = {f"code/{name}.py": f"OWNER = 'the user: {name}'\n" for name in names}
    source = "".join(f"import {name}\n" for name in names) + ASK
    served = serve({**modules, **code(source)})
    assert served.ask(f"[{', '.join(f'{name}.OWNER' for name in names)}]") == [f"the user: {name}" for name in names]


def test_users_packages_are_imported_late_too(serve: Serve) -> None:
    served = serve({**code(ASK), "code/serving/__init__.py": "", "code/serving/frames.py": "OWNER = 'user'\n"})
    assert served.ask("__import__('serving.frames').frames.OWNER") == "user"


def test_code_comes_first_on_the_path_then_lib_then_the_artifact(serve: Serve) -> None:
    served = serve(
        {
            **code(ASK),
            "code/twice.py": "PLACE = 'code'\n",
            "code/lib/twice.py": "PLACE = 'lib'\n",
            "code/lib/vendored/__init__.py": "PLACE = 'lib'\n",
            "top.py": "PLACE = 'top'\n",
        }
    )
    assert served.ask("[__import__(name).PLACE for name in ('twice', 'vendored', 'top')]") == ["code", "lib", "top"]
    assert served.ask("sys.path[0]") == str(served.folder / "code")


def test_inference_at_the_top_of_the_artifact_is_found(serve: Serve) -> None:
    assert serve({"inference.py": ASK}).ask("__name__") == "inference"


def test_working_directory_is_the_models_folder(serve: Serve) -> None:
    served = serve({**code(ASK), "labels.txt": "cat"})
    assert served.ask("[os.getcwd(), open('labels.txt').read()]") == [str(served.folder), "cat"]


def test_program_and_folder_of_code_of_the_whole_container(configured: Container) -> None:
    files = {**code(f"import shared_by_all\n{ASK}", "entry.py"), **code("1 / 0\n")}
    served = serve_in(configured, files)
    assert served.ask("shared_by_all.WORD") == "shared"
    assert served.ask("os.environ['SAGEMAKER_PROGRAM']") == "entry.py"


def test_code_of_the_whole_container_is_imported_once_for_each_model_and_has_its_neighbours(front: str) -> None:
    """Not before: what waits for a model is not confined, and has no path yet."""
    with readable_folder() as shared, running(SAGEMAKER_SUBMIT_DIRECTORY=str(shared)) as container:
        (shared / "beside.py").write_text("WORD = 'beside'\n")
        (shared / "inference.py").write_text(f"import beside\nprint('imported')\n{ASK}")
        for number in range(3):
            served = serve_in(container, {"readme.txt": ""})
            assert served.ask("sys.modules['beside'].WORD") == "beside"
            served.line(message="imported")
            lines = [line for line in container.lines if line.get("message") == "imported"]
            assert len(lines) == number + 1
        assert not [line for line in container.lines if "waited for the next model" in line.get("message", "")]


def test_package_in_lib_that_is_called_as_ours_is_the_users(serve: Serve) -> None:
    files = {"code/lib/serving/__init__.py": "OWNER = 'lib'\n", "code/lib/container/__init__.py": "OWNER = 'lib'\n"}
    served = serve({**files, **code(f"import serving, container\n{ASK}")})
    assert served.ask("[serving.OWNER, container.OWNER]") == ["lib", "lib"]


# What it prints.


def test_prints_and_logging_become_json_lines(container: Container, serve: Serve) -> None:
    served = serve(
        "import logging, os, sys, warnings\n\nprint('at import')\n\n"
        "def model_fn(model_dir):\n    print('at load', file=sys.stderr)\n    return 1\n\n"
        "def transform_fn(model, data, content_type, accept):\n"
        "    print('two\\nlines')\n    print('unended', end='')\n    logging.warning('logged %d', 7)\n"
        "    os.write(1, b'raw\\n')\n    return 'ok'\n"
    )
    served.invoke(b"")
    assert served.line(message="at import")["level"] == "INFO"
    assert served.line(message="at load")["level"] == "WARN"
    request_ids = {served.line(message=text)["request_id"] for text in ("two", "lines", "unended")}
    assert len(request_ids) == 1
    assert served.line(message="WARNING:root:logged 7")["request_id"] in request_ids
    assert served.line(message="raw")
    for line in container.raw:
        assert {"time", "level", "message"} <= json.loads(line).keys()


def test_stdout_can_be_used_as_a_file_object(serve: Serve) -> None:
    """Common first lines of a script must not fail its load."""
    first_lines = "sys.stdout.reconfigure(line_buffering=True)\nsys.stdout.buffer.write(b'in bytes\\n')\n"
    served = serve(f"import sys\n{first_lines}{ASK}")
    assert served.line(message="in bytes")


def test_megabytes_printed_at_load_are_no_problem(serve: Serve) -> None:
    served = serve(f"for number in range(20_000):\n    print(number, 'x' * 100)\nprint('y' * 3_000_000)\n{ASK}")
    assert served.ask("1") == 1
    assert served.line(message=f"19999 {'x' * 100}")


@pytest.mark.parametrize("text", ["[PID] 1", "[PID]:1", "MMS worker started.", "Torch worker started.", "\\x1e[broken"])
def test_lines_that_a_model_server_would_take_for_its_own_do_no_harm(serve: Serve, text: str) -> None:
    source = f"print('{text}', flush=True)\nimport os\nos.write(1, b'{text}\\n')\nos.write(2, b'{text}\\n')\n{ASK}"
    served = serve(source)
    assert served.ask(f"print('{text}') or 1") == 1
    assert served.ask("2") == 2


# What a user's code raises.


@pytest.mark.parametrize("raised", ["Unprintable()", "BaseInferenceToolkitError(418, Unprintable(), 'x')"])
def test_exception_that_cannot_be_printed_is_an_answer_and_not_the_end_of_the_process(
    serve: Serve, raised: str
) -> None:
    source = f"""
import os
from sagemaker_inference.errors import BaseInferenceToolkitError

class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError

def model_fn(model_dir):
    return 1

def transform_fn(model, data, content_type, accept):
    if data == "pid":
        return str(os.getpid()), "text/plain"
    raise {raised}
"""
    served = serve(source)
    before = served.invoke("pid").body
    assert served.invoke("x").status in (418, 500)
    assert served.invoke("pid").body == before


def test_form_whose_fields_do_not_reach_the_model_is_a_415(serve: Serve) -> None:
    """multi-model-server takes it apart; the other front hands it on as it is."""
    served = serve(
        "def model_fn(model_dir):\n    return 1\n\n"
        "def transform_fn(model, data, kind, accept):\n    return data, 'text/plain'\n"
    )
    answer = served.invoke("a=1", content_type="application/x-www-form-urlencoded")
    if served.container.front == "native":
        assert (answer.status, answer.body) == (200, b"a=1")
    else:
        assert answer.status == 415
        assert "Content-Type" in answer.json["message"]
