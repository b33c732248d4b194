"""What the image is made of: `python -m container version`, and the list that its build ships (SPDX 2.3).

    versions()      Medley, Python, the system, the frameworks, and every package that pip knows
    document()      the same as an SPDX document, with the system's packages: `python -m container.inventory`

Nothing is guessed: what a package does not say of itself is NOASSERTION.
"""

import importlib.metadata
import json
import platform
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from serving import frameworks

_DISTRIBUTION = "medley"
_DPKG = ("dpkg-query", "--show", "--showformat=${Package}\t${Version}\t${Architecture}\n")
_LICENSE = ("License-Expression", "License")  # of a package's metadata
_UNKNOWN = "NOASSERTION"
_NO_ID = re.compile(r"[^A-Za-z0-9.-]")
_KNOWN = (  # of the identifiers that SPDX lists, those that Python's packages use
    "0BSD AFL-2.1 Apache-2.0 BSD-2-Clause BSD-3-Clause CC0-1.0 CNRI-Python GPL-2.0-only GPL-3.0-only HPND ISC "
    "LGPL-2.1-or-later MIT MIT-CMU MPL-2.0 NCSA PSF-2.0 Python-2.0 Unlicense Zlib bzip2-1.0.6 AND OR "
)


def versions() -> dict[str, Any]:
    """For people and programs: names and versions."""
    return {
        "medley": importlib.metadata.version(_DISTRIBUTION),
        "python": platform.python_version(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", platform.system()),
        "frameworks": frameworks.installed(),
        "packages": {name: found.version for name, found in _distributions()},
    }


def main(_arguments: Sequence[str]) -> int:
    """Prints them, as JSON."""
    print(json.dumps(versions(), indent=2))
    return 0


def document(created: datetime) -> dict[str, Any]:
    """The SPDX document: one package for the image, which contains all others."""
    version = importlib.metadata.version(_DISTRIBUTION)
    image = _package("image", "medley-image", version, None, "Apache-2.0") | {"primaryPackagePurpose": "CONTAINER"}
    parts = [*_python(), *_pip(), *_debian()]
    name = f"medley-{version}"
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://spdx.org/spdxdocs/{name}-{uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(parts))}",
        "creationInfo": {"created": created.strftime("%Y-%m-%dT%H:%M:%SZ"), "creators": [f"Tool: {name}"]},
        "packages": [image, *parts],
        "relationships": [
            _relation("SPDXRef-DOCUMENT", "DESCRIBES", image["SPDXID"]),
            *(_relation(image["SPDXID"], "CONTAINS", part["SPDXID"]) for part in parts),
        ],
    }


def _python() -> Iterator[dict[str, Any]]:
    yield _package("generic", "python", platform.python_version(), "pkg:generic/python", "PSF-2.0")


def _pip() -> Iterator[dict[str, Any]]:
    for name, found in _distributions():
        said = next((found.metadata[field] for field in _LICENSE if field in found.metadata), "")
        yield _package("pypi", name, found.version, f"pkg:pypi/{name}", said)


def _debian() -> Iterator[dict[str, Any]]:
    try:
        said = subprocess.run(_DPKG, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return  # no Debian
    for line in said.splitlines():
        name, version, architecture = line.split("\t")
        part = _package("deb", name, version, f"pkg:deb/debian/{name}", "")
        part["externalRefs"][0]["referenceLocator"] += f"?arch={architecture}"
        yield part


def _distributions() -> list[tuple[str, importlib.metadata.Distribution]]:
    """By name, written as PyPI does; the one that an import would find."""
    found: dict[str, importlib.metadata.Distribution] = {}
    for distribution in importlib.metadata.distributions():
        found.setdefault(re.sub(r"[-_.]+", "-", distribution.name).lower(), distribution)
    return sorted(found.items())


def _package(kind: str, name: str, version: str, purl: str | None, license_said: str) -> dict[str, Any]:
    part: dict[str, Any] = {
        "SPDXID": f"SPDXRef-{kind}-{_NO_ID.sub('-', name)}",
        "name": name,
        "versionInfo": version,
        "downloadLocation": _UNKNOWN,
        "filesAnalyzed": False,
        "licenseConcluded": _UNKNOWN,
        "licenseDeclared": _license(license_said),
        "copyrightText": _UNKNOWN,
    }
    if purl:
        locator = f"{purl}@{version.replace('+', '%2B').replace(':', '%3A')}"
        reference = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": locator}
        part["externalRefs"] = [reference]
    return part


def _license(said: str) -> str:
    """An SPDX expression as it stands; anything else (a name in prose, a whole text) says nothing certain."""
    words = re.sub(r"[()]", " ", said).split()
    if words and all(f" {word} " in f" {_KNOWN}" for word in words):
        return said
    return _UNKNOWN


def _relation(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


if __name__ == "__main__":
    json.dump(document(datetime.now(UTC)), sys.stdout, indent=1)
