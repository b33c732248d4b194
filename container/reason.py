"""Why a job did not do what it was to do, where SageMaker shows it: of a Processing job, /opt/ml/output/message."""

import sys
from pathlib import Path

_LONGEST = 1024  # characters that SageMaker shows


def failed(sentence: str, place: Path | None) -> int:
    """Says why, to stderr and at `place`, which SageMaker shows 1,024 characters of; the exit status."""
    print(sentence, file=sys.stderr, flush=True)
    if place:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(sentence[:_LONGEST], errors="replace")
    return 1
