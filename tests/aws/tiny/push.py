"""push.py REGISTRY/REPOSITORY:TAG: an image of nothing but its name, in the stand-in's ECR."""

import hashlib
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
from ecr import ask

_, _, name = sys.argv[1].partition("/")
repository, _, tag = name.rpartition(":")
kind = "application/vnd.docker.distribution.manifest.v2+json"
manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": {"digest": name}, "layers": []})
ask(
    "PutImage",
    os.environ["AWS_REGION"],
    repositoryName=repository,
    imageTag=tag,
    imageManifest=manifest,
    imageDigest="sha256:" + hashlib.sha256(manifest.encode()).hexdigest(),
)
print(f"{tag}: pushed")
