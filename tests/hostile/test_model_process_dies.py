"""A model process that is killed, or ends by itself: one 5xx for who was in it, nothing for anybody else."""

import os
import signal

import pytest

from tests.container import Container, gone, until_forgotten

from .rig import (
    DEATHS,
    Bell,
    Calling,
    Gate,
    asleep,
    code,
    make_hot,
    neighbours,
    processes_of,
    raw,
    read_to_end,
    together,
    until,
)

CLIENTS = 8
DIES = {
    "os_exit": "os._exit(0)",
    "os_exit_1": "os._exit(1)",
    "sys_exit": "sys.exit('enough')",
    "keyboard_interrupt": "raise KeyboardInterrupt",
    "segfault": "ctypes.string_at(0)",
    "abort": "os.abort()",
    "alarm": "signal.setitimer(signal.ITIMER_REAL, 0.001); signal.pause()",
    "kill_itself": "os.kill(os.getpid(), signal.SIGKILL)",
    "execs": "os.execv('/bin/true', ['true'])",
}


def _waits(bell: Bell) -> dict[str, str]:
    """Answers `quick` at once; rings and waits for ever with anything else."""
    return code(f"if data == 'quick': return 'done', 'text/plain'\n{bell.ring}\nsignal.pause()")


def test_kill_in_the_middle_of_a_request_is_one_5xx_and_the_next_answer_is_good(
    container: Container, bell: Bell
) -> None:
    container.put("victim", _waits(bell))
    assert container.load("victim").status == 200
    with neighbours(container) as good:
        call = Calling(container, "victim", b"wait")
        os.kill(bell.wait(), signal.SIGKILL)
        answer = call.answer
        assert 500 <= answer.status <= 599
        assert "ended" in answer.json["message"]
        assert container.invoke("victim", b"quick").body == b"done"
        before = len(good)
        until(lambda: len(good) > before, "an answer of the neighbour")


def test_kill_gives_its_caller_exactly_one_answer_on_the_wire(container: Container, bell: Bell) -> None:
    container.put("victim", _waits(bell))
    container.load("victim")
    head = b"POST /models/victim/invoke HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 4\r\n"
    with raw(container, head + b"Connection: close\r\n\r\nwait") as connection:
        os.kill(bell.wait(), signal.SIGKILL)
        said = read_to_end(connection)
    assert said.startswith(b"HTTP/1.1 5")
    assert said.count(b"HTTP/1.1") == 1


def test_caller_of_a_killed_process_can_ask_again_on_the_same_connection_or_is_told_that_it_is_closed(
    container: Container, bell: Bell
) -> None:
    container.put("victim", _waits(bell))
    container.load("victim")
    head = b"POST /models/victim/invoke HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n"
    with raw(container, head + b"Content-Length: 4\r\n\r\nwait") as connection:
        os.kill(bell.wait(), signal.SIGKILL)
        first = connection.recv(1 << 16)
        if b"connection: close" not in first.lower():
            connection.sendall(head + b"Content-Length: 5\r\nConnection: close\r\n\r\nquick")
            assert read_to_end(connection).endswith(b"done")


def test_kill_while_idle_is_seen_by_nobody(container: Container, bell: Bell) -> None:
    container.put("victim", _waits(bell))
    container.load("victim")
    with neighbours(container):
        for _ in range(DEATHS[container.front]):
            (victim,) = processes_of(container, "victim")
            until(lambda pid=victim: asleep(pid), "its rest")  # type: ignore[misc]
            os.kill(victim, signal.SIGKILL)
            assert gone(victim)
            assert container.invoke("victim", b"quick").body == b"done"


def test_kill_while_eight_clients_wait_answers_each_of_them_once(container: Container, bell: Bell) -> None:
    container.put("victim", _waits(bell))
    container.load("victim")
    with neighbours(container):
        calls = [Calling(container, "victim", b"wait")]
        pid = bell.wait()
        calls += [Calling(container, "victim", b"quick") for _ in range(CLIENTS - 1)]
        os.kill(pid, signal.SIGKILL)
        first, *others = [call.answer.status for call in calls]
        assert 500 <= first <= 599
        assert set(others) <= {200, 502}
        assert container.invoke("victim", b"quick").status == 200


def test_kill_while_eight_connections_are_busy_answers_each_of_them_once(
    container: Container, bell: Bell, gate: Gate
) -> None:
    """The first call holds the process while the others come in: they are what it then has read and not answered."""
    holds = "data == 'hold' and not os.path.exists('killed')"
    folder = container.put("hot", code(f"if {holds}:\n    {bell.ring}\n    {gate.wait}\nreturn 'done', 'text/plain'"))
    container.load("hot")
    make_hot(container, "hot", bell, gate)
    with neighbours(container) as good:
        calls = [Calling(container, "hot", b"hold")]
        bell.wait()
        calls += [Calling(container, "hot", b"hold") for _ in range(CLIENTS - 1)]
        until(lambda: len(good) > 5, "some answers of the neighbour")
        gate.open()
        pid = bell.wait()
        (folder / "killed").touch()
        os.kill(pid, signal.SIGKILL)
        answers = [call.answer.status for call in calls]
        assert any(status >= 500 for status in answers)
        assert set(answers) <= {200, 502}
        assert container.invoke("hot").body == b"done"


@pytest.mark.parametrize("how", DIES)
def test_process_that_ends_by_itself_in_a_prediction_answers_5xx_and_comes_back(container: Container, how: str) -> None:
    container.put("dying", code(f"if data == 'quick': return 'done', 'text/plain'\n{DIES[how]}"))
    assert container.load("dying").status == 200
    for _ in range(2):
        answer = container.invoke("dying", b"die")
        assert 500 <= answer.status <= 599, answer
        assert container.invoke("dying", b"quick").body == b"done"
    assert container.unload("dying").status == 200


@pytest.mark.parametrize("how", DIES)
def test_process_that_ends_while_loading_fails_the_load_and_leaves_no_ghost(container: Container, how: str) -> None:
    container.put("stillborn", code(load=DIES[how]))
    with neighbours(container):
        for _ in range(2):
            answer = container.load("stillborn")
            assert 400 <= answer.status <= 599
            assert answer.status != 409, answer
            until_forgotten(container, "stillborn")
            assert container.invoke("stillborn").status == 404
    container.put("stillborn", code())
    assert container.load("stillborn").status == 200


def test_process_killed_while_loading_fails_the_load(container: Container, bell: Bell, gate: Gate) -> None:
    container.put("slow", code(load=f"{bell.ring}\n{gate.wait}\nreturn 1"))
    for _ in range(3):
        with neighbours(container):
            answer = together([lambda: container.load("slow"), lambda: os.kill(bell.wait(), signal.SIGKILL)])[0]
        assert answer is not None
        assert 500 <= answer.status <= 599
        until_forgotten(container, "slow")
        assert container.invoke("slow").status == 404
    gate.open()
    assert container.load("slow").status == 200


@pytest.mark.only_front("mms")
def test_model_that_cannot_be_loaded_again_after_its_death_is_unloaded(container: Container, bell: Bell) -> None:
    once = "if os.path.exists('been'): raise RuntimeError('never again')\nopen('been', 'w').close()\nreturn 1"
    folder = container.put("mortal", code("os._exit(1)", load=once))
    assert container.load("mortal").status == 200
    with neighbours(container):
        assert 500 <= container.invoke("mortal", timeout=5).status <= 599
        until(lambda: "mortal" not in container.models(), "its unloading")
    assert container.invoke("mortal").status == 404
    (folder / "been").unlink()
    assert container.load("mortal").status == 200


@pytest.mark.parametrize("body_of", ["request", "answer"])
def test_death_with_half_a_body_on_the_wire_is_one_5xx_and_the_next_answer_is_good(
    container: Container, body_of: str
) -> None:
    """A thread of the model ends the process as soon as it is within reading, or writing, 20 MB."""
    doing = {"request": "_receive", "answer": "_write"}[body_of]
    dies = f"""
    def die():
        while sys._current_frames()[threading.main_thread().ident].f_code.co_name != {doing!r}:
            pass
        os._exit(1)
    if data == b'die':
        threading.Thread(target=die).start()
    return (b' ' * 20_000_000 if data == b'die' and {body_of!r} == 'answer' else b'done'), content_type
    """
    container.put("torn", code(dies))
    container.load("torn")
    octets = "application/octet-stream"
    with neighbours(container):
        first = container.invoke("torn", b"die", octets)
        if body_of == "request":
            assert first.status == 200
            first = container.invoke("torn", b" " * 20_000_000, octets)
        assert 500 <= first.status <= 599
        assert container.invoke("torn", b"quick", octets).body == b"done"


@pytest.mark.only_front("mms")
def test_model_that_dies_again_and_again_while_idle_is_given_up(container: Container) -> None:
    """A process that ends as soon as it serves is not forked for ever: that would take a core for nothing."""
    container.put("sickly", code(load="threading.Timer(0.3, os._exit, [1]).start()\nreturn 1"))
    assert container.load("sickly").status == 200
    with neighbours(container):
        until_forgotten(container, "sickly")
    container.put("sickly", code())
    assert container.load("sickly").status == 200
    assert container.invoke("sickly", b"x").body == b"x"
