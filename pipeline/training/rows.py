"""A folder of rows, brought to where the pipeline looks for them: once, under the hash of what is in it.

    given(project, clients, definition, Path("data"), {}) -> {"TrainingData": "s3://bucket/.../3f2a9c01/train", ...}

So two runs on the same rows have the same arguments, which is what a cached step is found by, and rows that differ are
never mixed.
"""

import hashlib
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from pipeline.aws.clients import Clients, asking
from pipeline.failed import Failed
from pipeline.project.records import Project
from pipeline.training.definition import DATA, data_prefix, is_below_data
from pipeline.training.gather import parts


def given(
    project: Project, clients: Clients, definition: Mapping[str, Any], folder: Path, said: Mapping[str, str]
) -> dict[str, str]:
    """The parameters of a run on the rows of `folder`. said: those that are given otherwise, which go before. Raises
    Failed where rows are missing that the pipeline would look for."""
    known = {parameter["Name"] for parameter in definition["Parameters"]} - said.keys()
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if _is_data(path, folder)}
    if not files:
        raise Failed(f"{folder} has no file: it is to hold a folder for each channel, such as train and test.")
    for name, place in _needed(project, known):
        if not any(file == place or file.startswith(f"{place}/") for file in files):
            raise Failed(
                f"{folder} has no rows in {place}, where the pipeline looks for them: put them there, or say where "
                f"they are with --set {name}=s3://..."
            )
    place = _uploaded(project, clients, folder, files)
    names = {"Data": place, **{name: f"{place}/{channel}" for channel, name in DATA.items()}}
    return {name: value for name, value in names.items() if name in known} | dict(said)


def _needed(project: Project, known: Set[str]) -> Iterator[tuple[str, str]]:
    """The parameters that say where rows are, and the place below the folder of each."""
    yield from ((name, channel) for channel, name in DATA.items() if name in known)
    for model in project.models:
        places = [model.channels[channel] for channel in model.channels if is_below_data(model, channel)]
        yield from (("Data", place.strip("/")) for place in places if "Data" in known)


def _uploaded(project: Project, clients: Clients, folder: Path, files: Mapping[str, Path]) -> str:
    """Where the files are now. What is there already is not sent again."""
    place = f"{data_prefix(project)}/{_digest(files)[:8]}"
    bucket, prefix = parts(place)
    with asking(f"upload {folder}"):
        pages = clients.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
        there = {one["Key"]: one["Size"] for page in pages for one in page.get("Contents", ())}
        for name, path in files.items():
            if there.get(f"{prefix}/{name}") != path.stat().st_size:
                with path.open("rb") as body:
                    clients.s3.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=body)
    return place


def _is_data(path: Path, folder: Path) -> bool:
    """Nothing that is hidden, and nothing in a folder that is, such as .ipynb_checkpoints."""
    return path.is_file() and not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)


def _digest(files: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, path in files.items():
        with path.open("rb") as file:
            digest.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
