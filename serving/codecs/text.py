"""Bytes of a body as text, by the charset that its Content-Type names; UTF-8 where it names none.

The table lists what is read: Python knows many more codecs, and some of them take quadratic time or are no charsets at
all. A byte order mark is passed over. Whatever is not text in that charset is BadInput with the place of the byte.
"""

from serving.codecs.words import quoted
from serving.errors import BadInput

_CHARSETS = {
    **dict.fromkeys(("utf-8", "utf8"), "utf-8"),
    **dict.fromkeys(("us-ascii", "ascii"), "ascii"),
    **dict.fromkeys(("iso-8859-1", "iso8859-1", "latin-1", "latin1"), "latin-1"),
    **dict.fromkeys(("iso-8859-15", "iso8859-15", "latin-9"), "iso-8859-15"),
    **dict.fromkeys(("windows-1252", "cp1252"), "cp1252"),
    **{name: name for name in ("utf-16", "utf-16le", "utf-16be", "utf-32", "utf-32le", "utf-32be")},
}


def text_of(body: bytes, parameters: dict[str, str]) -> str:
    """The body's text, without a byte order mark. An empty body is BadInput."""
    charset = _charset(parameters["charset"]) if "charset" in parameters else "utf-8"
    try:
        text = body.decode(charset)
    except UnicodeDecodeError as error:
        raise BadInput(
            f"The body is not {charset.upper()} text: byte {error.start + 1} cannot be read. "
            "Send UTF-8, or name the charset in the Content-Type."
        ) from None
    text = text.removeprefix("\ufeff")
    if not text or text.isspace():
        raise BadInput("The body is empty. Send at least one row.")
    return text


def _charset(name: str) -> str:
    try:
        return _CHARSETS[name.lower().replace("_", "-")]
    except KeyError:
        raise BadInput(f"The charset {quoted(name)} cannot be read here. Send UTF-8.") from None
