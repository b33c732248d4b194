"""What a command could not do, as a sentence for people and an exit code (docs/endpoint.md has the table)."""

DONE, REFUSED, WORDS, UNREACHABLE, AGAIN = 0, 1, 2, 3, 4


class Failed(Exception):
    """`str` says what happened, what it means and what to do; `code` is the exit code."""

    def __init__(self, sentence: str, code: int = REFUSED) -> None:
        super().__init__(sentence)
        self.code = code
