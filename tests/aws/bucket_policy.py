"""A bucket's policy as moto should read it: it knows no conditions, and would deny everything that `TLS only` denies.

The stand-in speaks plain HTTP where AWS speaks TLS, so that a statement with a condition on the transport never holds.
"""

import json
from collections.abc import Callable
from typing import Any

from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.s3.models import FakeBucket

OF = FakeBucket


def _get_permission(bucket: Any, _: Callable[..., Any], action: str, resource: str) -> PermissionResult:
    policy = json.loads(bucket.policy or "{}")
    kept = [one for one in policy.get("Statement", ()) if "aws:SecureTransport" not in json.dumps(one.get("Condition"))]
    if not kept:
        return PermissionResult.NEUTRAL
    return IAMPolicy(json.dumps({**policy, "Statement": kept})).is_action_permitted(action, resource)


OPERATIONS: dict[str, Callable[..., Any]] = {"get_permission": _get_permission}
