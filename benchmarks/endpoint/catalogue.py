"""A folder of many small artifacts, each of which answers with its own number, so that a wrong answer is seen."""

import gzip
import io
import tarfile
from pathlib import Path

_CODE = """
def model_fn(model_dir):
    return bytearray({weight})  # what the model weighs

def transform_fn(model, data, content_type, accept):
    return "{number}", "text/plain"
"""


def name(number: int) -> str:
    return f"model-{number:05}.tar.gz"


def write(folder: Path, artifacts: int, weight: int = 1_000_000) -> None:
    """`weight`: bytes that each model takes when it is loaded, besides its process."""
    folder.mkdir(exist_ok=True)
    for number in range(artifacts):
        code = _CODE.format(weight=weight, number=number).encode()
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            member = tarfile.TarInfo("code/inference.py")
            member.size = len(code)
            archive.addfile(member, io.BytesIO(code))
        (folder / name(number)).write_bytes(gzip.compress(packed.getvalue(), 1, mtime=0))
