"""Text of others on a terminal: names of files and columns, error messages, a model's answers.

None of it may be taken for rich's markup (`medley[onnx]` is no style, `[/x]` no mistake), and none of it for orders to
the terminal: what cannot be printed is shown as an escape.
"""

from rich.text import Text


def plain(text: object, keep: str = "") -> Text:
    """As it is written, for a console or a table's cell. keep: letters that stay, such as newlines of our own."""
    return Text("".join(letter if letter.isprintable() or letter in keep else _escape(letter) for letter in str(text)))


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def labelled(label: str, style: str, text: object) -> Text:
    """`label` in its style, then the text: a line of its own, however long."""
    return Text.assemble((label, style), " ", plain(text))
