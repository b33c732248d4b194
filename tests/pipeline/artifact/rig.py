"""What the tests of artifacts in the bucket share: one that is made, published, and looked at in S3."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pipeline.artifact.publish import Publishing
from pipeline.artifact.published import Published, Store
from pipeline.aws.clients import Clients

CODE = "def model_fn(folder): return {number}\ndef predict_fn(data, model): return [model]\n"
Make = Callable[..., Path]


def publish(store: Store, archive: Path, name: str | None = None) -> Published:
    publishing = Publishing(store.project, store.clients, judge=None)
    return publishing.publish(publishing.check([archive], name)[0]).published


def bytes_of(store: Store, target_model: str) -> bytes:
    key = f"{store.project.models_prefix}{target_model}"
    return store.clients.s3.get_object(Bucket=store.project.bucket, Key=key)["Body"].read()


def writes(store: Store, key: str) -> int:
    """How often a key was written, which a versioned bucket knows."""
    found = store.clients.s3.list_object_versions(Bucket=store.project.bucket, Prefix=key)
    return len(found.get("Versions", []))


def sent_twice(clients: Clients, operation: str) -> Clients:
    """Its first answer to `operation` is lost, and it is sent again."""
    clients = replace(clients, attempts=2)
    clients.s3.meta.events.register_first(
        f"needs-retry.s3.{operation}", lambda attempts, **_: 0.0 if attempts == 1 else None
    )
    return clients
