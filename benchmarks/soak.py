"""`python -m benchmarks.soak --loads 100000 --front native`: loads, asks and unloads one model again and again.

What could grow is printed at the start, ten times on the way and at the end: memory of the zygote and of the process
that speaks HTTP (MB, its own pages), their descriptors, all processes, files in the container's temp folder. It ends
with 1 where, after a tenth of the loads, any count has grown, or memory by more than 8 MB.
"""

import argparse
import json
import os
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import artifacts, client, processes, servers

GROWTH = 8.0  # MB
ZYGOTES = (b"container.native.entrance", b"container.mms.launchers")
COLUMNS = ("loads", "a second", "zygote MB", "front MB", "descriptors", "processes", "files")


def main() -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.soak", description="Loads and unloads, and what they leave.")
    parser.add_argument("--loads", type=int, default=100_000)
    parser.add_argument("--front", choices=("native", "medley"), default="native", help="medley: multi-model-server")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the server goes too
    processes.adopt_orphans()
    table = Table(*COLUMNS)
    rows: list[tuple[float, ...]] = []
    with tempfile.TemporaryDirectory(prefix="medley-soak-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        prepared = artifacts.prepare(folder, {"bare": 1})
        model = prepared.models["bare"][0]
        (turn := folder / "turn").mkdir()
        (turn / "tmp").mkdir()
        os.environ["TMPDIR"] = str(turn / "tmp")
        server = servers.start(options.front, prepared.root, turn)
        try:
            with client.connect(server.port) as connection:
                for step in range(11):
                    begin = time.monotonic()
                    for number in range(options.loads * step // 11, options.loads * (step + 1) // 11):
                        _once(connection, model, number)
                    rate = options.loads / 11 / (time.monotonic() - begin)
                    rows.append((options.loads * (step + 1) // 11, rate, *_state(turn)))
                    print(json.dumps(dict(zip(COLUMNS, rows[-1], strict=True))), flush=True)
        finally:
            processes.end(server.process)
    for row in rows:
        table.add_row(*(f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" for value in row))
    Console().print(table)
    first, last = rows[1], rows[-1]
    grown = [f"{COLUMNS[i]}: {first[i]:,} to {last[i]:,}" for i in (4, 5, 6) if last[i] > first[i]]
    grown += [f"{COLUMNS[i]}: {first[i]:.1f} to {last[i]:.1f}" for i in (2, 3) if last[i] > first[i] + GROWTH]
    print("grown: " + "; ".join(grown) if grown else "nothing has grown")
    return 1 if grown else 0


def _once(connection: socket.socket, model: artifacts.Model, number: int) -> None:
    body = json.dumps({"model_name": f"m{number}", "url": str(model.folder)}).encode()
    calls = (
        client.request("POST", "/models", body),
        client.request("POST", f"/models/m{number}/invoke", model.row, "text/csv"),
        client.request("DELETE", f"/models/m{number}"),
    )
    for call in calls:
        answer = client.call(connection, call, client.LOAD_SECONDS)
        if answer.status != 200:
            raise SystemExit(f"load {number}: {answer.status} {answer.body[:300]!r}")


def _state(turn: Path) -> tuple[float, float, int, int, int]:
    """Memory of the two processes, their descriptors, processes, files."""
    everybody = processes.descendants()
    zygote = next(pid for pid in everybody if _is(pid, ZYGOTES) and not _is(_parent(pid), ZYGOTES))
    front = next((pid for pid in everybody if _is(pid, (b"ModelServer",))), _parent(zygote))
    descriptors = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in (zygote, front))
    files = sum(1 for _ in (turn / "tmp").rglob("*"))
    return _own_mb(zygote), _own_mb(front), descriptors, len(everybody), files


def _is(pid: int, words: tuple[bytes, ...]) -> bool:
    try:
        return any(word in Path(f"/proc/{pid}/cmdline").read_bytes() for word in words)
    except OSError:
        return False


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _own_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon:")).split()[1]) / 1024


if __name__ == "__main__":
    sys.exit(main())
