"""medley.json's JSON schema, made by pydantic from the manifest's own dataclasses: `python -m serving.schema`.

The schema is shipped beside this file, for editors and other programs. Pydantic is imported here alone: it takes longer
than a model's load, and serving does without it (typed.py).
"""

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from serving.manifest import Manifest

FILE = Path(__file__).with_name("medley.schema.json")
adapter = TypeAdapter(Manifest)


def schema() -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "medley.json", **adapter.json_schema()}


def text() -> str:
    return json.dumps(schema(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
