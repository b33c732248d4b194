"""What a command could not do, as a sentence for people and an exit code (docs/endpoint.md has the table)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

DONE, REFUSED, WORDS, UNREACHABLE, AGAIN = 0, 1, 2, 3, 4


class Failed(Exception):
    """`str` says what happened, what it means and what to do; `code` is the exit code; `details` is what --json tells
    besides."""

    details: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, sentence: str, code: int = REFUSED) -> None:
        super().__init__(sentence)
        self.code = code
