"""`python -m benchmarks`: prepare the artifacts, rehearse, take turns, print the table, write the JSON.

The rehearsal is one unmeasured start, load and invoke of each server: it brings files into the page cache, compiles
what Python compiles once, and finds out in seconds, not minutes, when a server does not work. Whatever happens, the
server that is running is ended and the temp folder is removed.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from benchmarks import artifacts, client, figures, processes, report
from benchmarks.errors import BenchmarkError
from benchmarks.exercise import CLIENTS, Plan, take_turn

NAMES = {"medley": "this container", "today": "today's way", "native": "the native front"}
SIDES = {"both": ("medley", "today"), "medley": ("medley",), "today": ("today",), "fronts": ("native", "medley")}
# Under which of the two columns a server's values go.
COLUMNS = {"medley": "medley", "today": "today"}
COLUMNS_OF_FRONTS = {"native": "medley", "medley": "today"}
PHASES = {"all": frozenset({"cold", "warm"}), "cold": frozenset({"cold"}), "warm": frozenset({"warm"})}
QUICK = {"rounds": 1, "models": 4, "seconds": 1.0, "warm_up_seconds": 2.0}
FULL = {"rounds": 5, "models": 7, "seconds": 2.5, "warm_up_seconds": 4.0}
NARROWEST = 100
# Share of the cores that other programs may take before the figures are called rough.
NOISY = 0.05
GENERATOR_SECONDS = 1.0


def main() -> int:
    options = _options(sys.argv[1:])
    phases, sides = PHASES[options.phase], SIDES[options.side]
    plan = Plan(options.rounds, options.models, options.seconds, options.warm_up_seconds, phases, sides)
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, NARROWEST)
    # Ended from outside: unwind, so that the server is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    processes.adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="medley-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        # Model processes may run as another user than this one, and must be able to read the models.
        folder.chmod(0o755)
        try:
            return _run(plan, options.output, folder, console)
        except BenchmarkError as error:
            console.print(f"The benchmark stopped: {error}", markup=False, style="red")
            return 1


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description="This container beside today's way.")
    parser.add_argument("--rounds", type=int, help="turns that each server takes (5)")
    parser.add_argument("--models", type=int, help="XGBoost models loaded cold in each turn (7)")
    parser.add_argument("--seconds", type=float, help="length of each closed loop (2.5)")
    parser.add_argument("--warm-up-seconds", type=float, help="unmeasured calls that warm Java up (4)")
    parser.add_argument("--quick", action="store_true", help="about a minute, rougher figures")
    parser.add_argument("--phase", choices=PHASES, default="all", help="cold loads and memory, warm invokes, or all")
    parser.add_argument("--side", choices=SIDES, default="both", help="both servers, one, or the two fronts")
    parser.add_argument("--output", type=Path, default=Path("build/bench.json"), help="JSON (build/bench.json)")
    options = parser.parse_args(arguments)
    for name, value in (QUICK if options.quick else FULL).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
        if getattr(options, name) <= 0:
            parser.error(f"--{name.replace('_', '-')} must be more than 0")
    return options


def _run(plan: Plan, output: Path, folder: Path, console: Console) -> int:
    started = time.monotonic()

    def say(text: str) -> None:
        line = f"{time.monotonic() - started:4.0f} s  {text}"
        # A terminal sees one line that changes; a log would only fill up with them.
        if console.is_terminal:
            console.print(f"{line:<{console.width - 1}}"[: console.width - 1], end="\r", markup=False, highlight=False)

    say("training two models and unpacking them")
    prepared = artifacts.prepare(folder, plan.counts())
    generator = _measure_generator()
    for side in plan.sides:
        rehearsal = Plan(1, 1, 0.1, 0.1, frozenset(), plan.sides)
        take_turn(side, rehearsal, prepared, folder / "turn", _prefixed(say, f"rehearsal, {NAMES[side]}"))
    rounds: list[dict[str, dict[str, float]]] = []
    columns = COLUMNS_OF_FRONTS if "native" in plan.sides else COLUMNS
    for number in range(1, plan.rounds + 1):
        rounds.append({})
        for side in plan.sides:
            name = f"round {number} of {plan.rounds}, {NAMES[side]}"
            rounds[-1][columns[side]] = take_turn(side, plan, prepared, folder / "turn", _prefixed(say, name))
            console.print(
                f"{time.monotonic() - started:4.0f} s  {name}: done".ljust(console.width - 1), highlight=False
            )
    _report(plan, rounds, generator, prepared, output, console)
    return 0


def _prefixed(say: Callable[[str], None], name: str) -> Callable[[str], None]:
    return lambda text: say(f"{name}: {text}")


def _report(
    plan: Plan,
    rounds: list[dict[str, dict[str, float]]],
    generator: report.Generator,
    prepared: artifacts.Artifacts,
    output: Path,
    console: Console,
) -> None:
    fronts = "native" in plan.sides
    lines = figures.summarise(rounds, figures.OF_FRONTS if fronts else figures.FIGURES)
    settings = {"rounds": plan.rounds, "models": plan.models, "seconds": plan.seconds, "phases": sorted(plan.phases)}
    report.write(report.document(lines, rounds, generator, prepared.file_bytes, settings), output)
    console.print(report.table(lines, report.FRONTS if fronts else report.TODAY))
    console.print(
        f"Medians of {plan.rounds} round{'s' * (plan.rounds > 1)}; one row as text/csv. The XGBoost model file has "
        f"{prepared.file_bytes['xgboost'] / 1000:.0f} KB. The load generator itself: "
        f"{generator.requests_a_second:,.0f} requests a second against a server that does nothing, "
        f"{generator.cpu_microseconds_a_request:.0f} µs of a core each.\nEvery value of every round: {output}",
        highlight=False,
    )
    if (share := report.others(rounds)) > NOISY:
        console.print(
            f"Other programs took {share:.0%} of this machine's cores in the median turn, so these figures are "
            "rough: run it again when nothing else does.",
            style="yellow",
        )


def _measure_generator() -> report.Generator:
    command = [sys.executable, "-m", "benchmarks.echo"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=artifacts.SOURCE.parent) as echo:
        assert echo.stdin is not None
        assert echo.stdout is not None
        port = int(echo.stdout.readline())
        body = b"[0.7183108329772949]"
        exchange = client.Exchange(client.request("POST", "/models/echo/invoke", b"1.5," * 30, "text/csv"), body)
        run = client.drive(port, [exchange], CLIENTS, GENERATOR_SECONDS)
        echo.stdin.close()
    requests = len(run.latencies)
    return report.Generator(requests / run.seconds, 1e6 * run.cpu_seconds / requests)


if __name__ == "__main__":
    sys.exit(main())
