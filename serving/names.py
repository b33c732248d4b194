"""A TargetModel, and what CloudWatch takes of it as a dimension's value."""

_LONGEST = 1024  # characters: of a TargetModel, and of a dimension's value


def may_be_named(target_model: object) -> bool:
    """Whether SageMaker would take it for a TargetModel: 1 to 1024 printable characters."""
    return isinstance(target_model, str) and 0 < len(target_model) <= _LONGEST and target_model.isprintable()


def dimension_value(text: str) -> str:
    """CloudWatch takes ASCII without control characters, not only spaces, that begins with no colon; anything else is
    shown as an escape."""
    value = "".join(character if " " <= character <= "~" else _escape(character) for character in text)
    if not value.strip() or value.startswith(":"):
        value = f"\\x{ord(value[:1] or ' '):02x}{value[1:]}"
    return value[:_LONGEST]


def _escape(character: str) -> str:
    return f"\\x{ord(character):02x}" if character.isascii() else character.encode("ascii", "backslashreplace").decode()
