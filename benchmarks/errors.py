"""Why a benchmark stops.

A figure of a server that answers wrongly would be worse than none, so each of these ends the run.
"""


class BenchmarkError(Exception):
    """The root; the sentence is for whoever runs the benchmark, and may carry the end of a server's log."""


class ServerDied(BenchmarkError):
    """The server ended, or gave no good ping in time."""


class WrongAnswer(BenchmarkError):
    """The server answered with another status or another value than it must, or not at all."""
