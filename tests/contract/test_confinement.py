"""What a model may see and do."""

import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest

from tests import engine
from tests.container import SPARE, Container, comm, descendants, until

from .rig import ASK, Capless, Serve, Served, code, readable_folder, running, serve_in

FIRST_MODEL_UID = 20_000
ROOT = Path(__file__).parents[2]
# Can read aloud what the processes above it were started with.
LOOKS_UP = f"""{ASK}
def environments_above():
    texts, pid = [], os.getpid()
    while pid:
        try:
            texts.append(open(f"/proc/{{pid}}/environ").read())
        except OSError as error:
            texts.append(str(error))
        pid = int(open(f"/proc/{{pid}}/stat").read().rpartition(")")[2].split()[1])
    return texts
"""


@pytest.fixture(scope="module")
def capless(front: str) -> Iterator[Container]:
    with running(Capless, AWS_SECRET_ACCESS_KEY="a secret of the test") as container:
        yield container


@pytest.fixture(scope="module")
def own_uids(front: str) -> Iterator[Container]:
    """As root, with an interpreter that every uid may read, as in an image."""
    if os.geteuid():
        pytest.skip("only root may give model processes uids of their own")
    if engine.IMAGE:
        with running(AWS_SECRET_ACCESS_KEY="a secret of the test") as container:
            yield container
        return
    with readable_folder() as folder:
        library = Path(sysconfig.get_path("stdlib"))
        for part in ("bin", "lib"):
            (folder / part).mkdir()
        copy(Path(sys.base_prefix, "bin", f"python{sysconfig.get_python_version()}"), folder / "bin" / "python")
        for shared in Path(sys.base_prefix, "lib").glob("libpython*"):
            copy(shared, folder / "lib")
        copytree(library, folder / "lib" / library.name, ignore=ignore_patterns("site-packages", "test", "__pycache__"))
        for package in ("container", "serving"):
            copytree(ROOT / package, folder / "source" / package, ignore=ignore_patterns("__pycache__"))
        variables = {
            "LD_LIBRARY_PATH": str(folder / "lib"),
            "PYTHONPATH": f"{folder / 'source'}:{sysconfig.get_path('purelib')}",
            "AWS_SECRET_ACCESS_KEY": "a secret of the test",
        }
        kind = type("OwnUids", (Container,), {"command": (str(folder / "bin" / "python"), "-m", "container", "serve")})
        with running(kind, **variables) as container:
            yield container


def test_process_that_waits_for_a_model_can_gain_nothing_and_is_the_first_to_go(own_uids: Container) -> None:
    """It must still take another uid; what needs none is done."""
    (pid,) = until(lambda: [pid for pid in descendants(own_uids.zygote) if comm(pid) == SPARE], "a spare process")
    folder = Path(f"/proc/{pid}")

    def restricted() -> bool:
        fields = dict(line.split(":\t", 1) for line in (folder / "status").read_text().splitlines() if ":\t" in line)
        return (fields["NoNewPrivs"], int(fields["CapBnd"], 16)) == ("1", 0)

    until(restricted, "its limits")
    assert os.getsid(pid) == pid
    assert (folder / "oom_score_adj").read_text().strip() == "600"
    (core,) = (line for line in (folder / "limits").read_text().splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]


def test_folder_that_no_other_uid_may_search_is_loaded_without_a_uid_of_its_own(own_uids: Container) -> None:
    folder = own_uids.put("unsearchable", code(ASK))
    folder.chmod(0o744)
    assert own_uids.load("unsearchable").status == 200
    assert own_uids.invoke("unsearchable", b"os.getuid()").json == 0
    assert own_uids.unload("unsearchable").status == 200


def test_models_have_uids_of_their_own_and_can_do_nothing_to_others(own_uids: Container) -> None:
    one, other = serve_in(own_uids, LOOKS_UP), serve_in(own_uids, LOOKS_UP)
    (uid,), (others,) = ({*served.ask("[*os.getresuid(), *os.getresgid()]")} for served in (one, other))
    assert len({uid, others}) == 2
    assert min(uid, others) >= FIRST_MODEL_UID
    assert one.ask("os.getgroups()") == []
    assert all("denied" in text for text in one.ask("environments_above()")[1:])
    for victim in (own_uids.zygote, other.ask("os.getpid()")):
        answer = one.invoke(f"os.kill({victim}, 9)")
        assert answer.status == 500
        assert "PermissionError" in answer.json["message"]
    assert other.ask("1 + 1") == 2


def test_credentials_are_nowhere_to_be_seen(serve: Serve) -> None:
    served = serve(LOOKS_UP)
    assert served.ask("[name for name in os.environ if 'AWS' in name]") == []
    own, *above = served.ask("environments_above()")
    assert f"MEDLEY_MODEL_ROOT={served.container.root}" in own
    assert not [text for text in (own, *above) if "a secret of the test" in text]


def test_credentials_are_nowhere_to_be_seen_without_capabilities(capless: Container) -> None:
    """There every process has the same rights: whoever still holds the credentials shows them to the model."""
    texts = serve_in(capless, LOOKS_UP).ask("environments_above()")
    assert len([text for text in texts if f"MEDLEY_MODEL_ROOT={capless.root}" in text]) >= 2
    assert not [text for text in texts if "a secret of the test" in text]


def test_credentials_are_kept_when_that_is_asked_for(configured: Container) -> None:
    served = serve_in(configured, code(ASK, "entry.py"))
    assert served.ask("os.environ['AWS_SECRET_ACCESS_KEY']") == "kept"


def test_variables_of_users_and_of_sagemaker_are_kept(configured: Container) -> None:
    served = serve_in(configured, code(ASK, "entry.py"))
    names = ["OF_THE_USER", "SAGEMAKER_REGION", "SAGEMAKER_SUBMIT_DIRECTORY", "PATH"]
    assert None not in served.ask(f"[os.environ.get(name) for name in {names}]")


def test_model_has_no_privileges_and_cannot_gain_any(asked: Served) -> None:
    status = dict(line.split(":\t", 1) for line in asked.ask("open('/proc/self/status').read()").splitlines())
    assert status["NoNewPrivs"] == "1"
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0
    assert status["Groups"].split() == []
    uids = {int(uid) for uid in status["Uid"].split()}
    assert len(uids) == 1
    if uids.pop() < FIRST_MODEL_UID:
        asked.container.line(lambda line: "keep this uid" in line["message"])


def test_model_is_the_first_that_the_kernel_takes_for_memory(asked: Served) -> None:
    assert int(asked.ask("open('/proc/self/oom_score_adj').read()")) > int(Path("/proc/self/oom_score_adj").read_text())


def test_model_writes_no_core_files_and_holds_no_descriptor_of_others(asked: Served) -> None:
    assert asked.ask("__import__('resource').getrlimit(4)") == [0, 0]
    files = asked.ask("[os.path.realpath(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd') if int(fd) > 2]")
    assert [file for file in files if not file.startswith(("/proc/", "/memfd:board"))] == []


def test_two_models_do_not_see_each_others_memory(serve: Serve) -> None:
    one, other = serve(ASK), serve(ASK)
    one.ask("sys.modules.setdefault('left_behind', sys) and 1")
    assert other.ask("'left_behind' in sys.modules") is False
    assert one.ask("os.getpid()") != other.ask("os.getpid()")


def test_container_without_capabilities_serves(capless: Container) -> None:
    served = serve_in(capless, ASK)
    assert served.ask("os.getuid()") == os.getuid()
