"""A folder of rows, brought to where the pipeline looks for them: once, under the hash of what is in it.

    upload(project, clients, Path("data")) -> "s3://bucket/medley/pipeline/data/3f2a9c01"

So two runs on the same rows have the same arguments, which is what a cached step is found by, and rows that differ are
never mixed.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.clients import Clients, asking
from pipeline.definition import DATA, data_prefix
from pipeline.failed import Failed
from pipeline.gather import parts
from pipeline.project import Project


def upload(project: Project, clients: Clients, folder: Path) -> str:
    """Where its files are now. What is there already is not sent again. Raises Failed."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if _is_data(path)}
    if not files:
        raise Failed(f"{folder} has no file: it is to hold a folder for each channel, such as train and test.")
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


def settings(definition: Mapping[str, Any], place: str) -> dict[str, str]:
    """The parameters that say where rows are, with those below `place`."""
    names = {"Data": place, **{name: f"{place}/{channel}" for channel, name in DATA.items()}}
    known = {parameter["Name"] for parameter in definition["Parameters"]}
    return {name: value for name, value in names.items() if name in known}


def _is_data(path: Path) -> bool:
    return path.is_file() and not path.name.startswith((".", "_"))


def _digest(files: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, path in files.items():
        with path.open("rb") as file:
            digest.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
