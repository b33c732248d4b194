"""SageMaker hosting's lifecycle, which moto lacks: endpoints that take their time, fail, and roll back.

No clock: an endpoint goes one state further with each DescribeEndpoint. Which way, is ordered before:

    goes("churn", "Failed", reason="...")           Creating -> Failed; of an update: Updating -> Failed
    goes("churn", "RollingBack", reason="...")      Updating -> RollingBack -> InService, with the config of before
    goes("churn", "UpdateRollbackFailed")           Updating -> RollingBack -> UpdateRollbackFailed
    goes("churn", "SystemUpdating")                 at once: maintenance of an endpoint that serves, then InService

A name is taken once (AWS refuses the second), a config or model in use may be deleted (AWS lets you), and nothing is
updated or deleted while something else is going on.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.sagemaker.exceptions import AWSValidationException
from moto.sagemaker.models import FakeEndpoint, SageMakerModelBackend
from moto.sagemaker.responses import SageMakerResponse

from tests.aws.variants import any_instance_type, pending, variants_of

_STILL = frozenset({"InService", "Failed", "UpdateRollbackFailed", "OutOfService"})
_GONE = "(gone)"
_WAYS: dict[tuple[str, str], tuple[str, ...]] = {
    ("create", "InService"): ("Creating", "InService"),
    ("create", "Failed"): ("Creating", "Failed"),
    ("update", "InService"): ("Updating", "InService"),
    ("update", "Failed"): ("Updating", "Failed"),
    ("update", "RollingBack"): ("Updating", "RollingBack", "InService"),
    ("update", "UpdateRollbackFailed"): ("Updating", "RollingBack", "UpdateRollbackFailed"),
    ("maintenance", "SystemUpdating"): ("SystemUpdating", "InService"),
    ("delete", "InService"): ("Deleting", _GONE),
}


@dataclass
class Fate:
    """How the next create or update ends, and how many DescribeEndpoint see each state on the way."""

    outcome: str = "InService"
    reason: str | None = None
    looks: int = 1


@dataclass
class Life:
    """What is still ahead of an endpoint, and what it comes back to when an update is rolled back."""

    ahead: deque[str] = field(default_factory=deque)
    reason: str | None = None
    before: tuple[str, list[dict[str, Any]]] | None = None
    deployment: Mapping[str, Any] | None = None
    last_deployment: Mapping[str, Any] | None = None


class Hosting:
    """`operations` go on moto's response class; tests order fates with `goes`, and look with `endpoint`."""

    of = SageMakerResponse

    def __init__(self) -> None:
        self._fates: dict[str, Fate] = {}
        self._lives: dict[str, Life] = {}
        self._seen: list[FakeEndpoint] = []
        self.operations: dict[str, Callable[[Any, Callable[[], Any]], Any]] = {
            "create_model": self._create_model,
            "create_endpoint_config": self._create_endpoint_config,
            "create_endpoint": self._create_endpoint,
            "update_endpoint": self._update_endpoint,
            "describe_endpoint": self._describe_endpoint,
            "delete_endpoint": self._delete_endpoint,
            "add_tags": self._add_tags,
        }

    # What tests say

    def goes(self, endpoint: str, outcome: str, reason: str | None = None, looks: int = 1) -> None:
        """How the next create or update of this endpoint ends. `looks`: how many DescribeEndpoint see each state."""
        assert any(outcome == end for _, end in _WAYS), outcome
        if outcome == "SystemUpdating":
            self._set_out(self._known(endpoint), "maintenance", Fate(outcome, reason, looks))
        else:
            self._fates[endpoint] = Fate(outcome, reason, looks)

    def lingers(self, endpoint: str) -> None:
        """The next DescribeEndpoint leaves it in the state that it is in."""
        self._lives[endpoint].ahead.appendleft(self._known(endpoint).endpoint_status)

    def breaks(self, endpoint: str, reason: str) -> None:
        """The create or update that is under way ends badly: it fails, or is rolled back."""
        life = self._lives[endpoint]
        life.ahead, life.reason = deque(("RollingBack", "InService") if life.before else ("Failed",)), reason

    def serving(self, endpoint: str) -> str | None:
        """The config whose fleet has the traffic; None where nothing serves."""
        life = self._lives.get(endpoint)
        if life is None or self._known(endpoint).endpoint_status in ("Creating", "Failed", "Deleting"):
            return None
        return self._told_config(self._known(endpoint), life)

    def wants(self, endpoint: str, config: str) -> bool:
        """Has this config's fleet the traffic, or is it to have it?"""
        life = self._lives.get(endpoint)
        if life is None:
            return False
        return config == self._known(endpoint).endpoint_config_name or config == self.serving(endpoint)

    def deployment_config(self, endpoint: str) -> Mapping[str, Any] | None:
        """The DeploymentConfig of the endpoint's last UpdateEndpoint."""
        return self._lives[endpoint].last_deployment

    def forget(self) -> None:
        self._fates.clear()
        self._lives.clear()
        self._seen.clear()

    # What AWS does

    def _create_model(self, response: Any, own: Callable[[], Any]) -> Any:
        name = response._get_param("ModelName")
        _refuse_second("model", name, response.sagemaker_backend._models, response)
        return own()

    def _create_endpoint_config(self, response: Any, own: Callable[[], Any]) -> Any:
        name = response._get_param("EndpointConfigName")
        _refuse_second("endpoint configuration", name, response.sagemaker_backend.endpoint_configs, response)
        with any_instance_type(response._get_param("ProductionVariants")) as restore:
            answer = own()
            restore(response.sagemaker_backend.endpoint_configs[name].production_variants)
        return answer

    def _create_endpoint(self, response: Any, own: Callable[[], Any]) -> Any:
        name = response._get_param("EndpointName")
        _refuse_second("endpoint", name, response.sagemaker_backend.endpoints, response)
        answer = own()
        endpoint = response.sagemaker_backend.endpoints[name]
        self._seen.append(endpoint)
        self._lives[name] = Life()
        self._set_out(endpoint, "create", self._fates.pop(name, Fate()))
        return answer

    def _update_endpoint(self, response: Any, _: Callable[[], Any]) -> Any:
        backend: SageMakerModelBackend = response.sagemaker_backend
        endpoint = self._resting(response, "update", ("InService", "UpdateRollbackFailed"))
        wanted = response._get_param("EndpointConfigName")
        config = backend.endpoint_configs.get(wanted)
        if config is None:
            arn = _arn("endpoint-config", wanted, response)
            raise AWSValidationException(f'Could not find endpoint configuration "{arn}".')
        life = self._lives[endpoint.endpoint_name]
        life.before = (endpoint.endpoint_config_name, endpoint.production_variants)
        life.deployment = life.last_deployment = response._get_param("DeploymentConfig")
        endpoint.endpoint_config_name = wanted
        endpoint.production_variants = variants_of(endpoint, config.production_variants, response)
        self._set_out(endpoint, "update", self._fates.pop(endpoint.endpoint_name, Fate()))
        return ActionResult({"EndpointArn": endpoint.arn})

    def _describe_endpoint(self, response: Any, own: Callable[[], Any]) -> Any:
        name = response._get_param("EndpointName")
        backend: SageMakerModelBackend = response.sagemaker_backend
        life = self._lives.get(name)
        if name not in backend.endpoints or life is None:
            raise AWSValidationException(f'Could not find endpoint "{_arn("endpoint", name, response)}".')
        told = dict(own().result)
        told["EndpointConfigName"] = self._told_config(backend.endpoints[name], life)
        if life.ahead and life.deployment:
            told["PendingDeploymentSummary"] = pending(backend.endpoints[name])
            told["LastDeploymentConfig"] = life.deployment
        if life.ahead:
            self._step(backend, backend.endpoints[name], life)
        return ActionResult(told)

    def _delete_endpoint(self, response: Any, _: Callable[[], Any]) -> Any:
        endpoint = self._resting(response, "delete", tuple(_STILL))
        self._set_out(endpoint, "delete", Fate())
        return EmptyResult()

    def _add_tags(self, response: Any, own: Callable[[], Any]) -> Any:
        """A key has one value: moto would keep them all."""
        wanted = {tag["Key"] for tag in response._get_param("Tags")}
        response.sagemaker_backend.delete_tags(response._get_param("ResourceArn"), wanted)
        return own()

    # Below

    def _set_out(self, endpoint: FakeEndpoint, what: str, fate: Fate) -> None:
        way = _WAYS.get((what, fate.outcome))
        assert way, f"an endpoint's {what} cannot end as {fate.outcome}"
        life = self._lives[endpoint.endpoint_name]
        *between, end = way
        life.ahead = deque([*[state for state in between for _ in range(fate.looks)][1:], end])
        life.reason = fate.reason
        endpoint.failure_reason = None
        _enter(endpoint, between[0])

    def _step(self, backend: SageMakerModelBackend, endpoint: FakeEndpoint, life: Life) -> None:
        state = life.ahead.popleft()
        if state == _GONE:
            del backend.endpoints[endpoint.endpoint_name], self._lives[endpoint.endpoint_name]
            return
        if endpoint.endpoint_status == "RollingBack" and state == "InService" and life.before:
            endpoint.endpoint_config_name, endpoint.production_variants = life.before
        if not life.ahead:
            endpoint.failure_reason = life.reason
            life.deployment = None
        _enter(endpoint, state)

    def _told_config(self, endpoint: FakeEndpoint, life: Life) -> str:
        """AWS names the old config until the new fleet has the traffic."""
        if life.ahead and life.before and endpoint.endpoint_status in ("Updating", "RollingBack"):
            return life.before[0]
        return endpoint.endpoint_config_name

    def _resting(self, response: Any, what: str, allowed: tuple[str, ...]) -> FakeEndpoint:
        name = response._get_param("EndpointName")
        endpoint: FakeEndpoint | None = response.sagemaker_backend.endpoints.get(name)
        if endpoint is None:
            raise AWSValidationException(f'Could not find endpoint "{_arn("endpoint", name, response)}".')
        if endpoint.endpoint_status not in _STILL:
            raise AWSValidationException(f'Cannot {what} in-progress endpoint "{endpoint.arn}".')
        if endpoint.endpoint_status not in allowed:
            raise AWSValidationException(
                f'Cannot {what} endpoint "{endpoint.arn}" in {endpoint.endpoint_status} state.'
            )
        return endpoint

    def _known(self, name: str) -> FakeEndpoint:
        return next(endpoint for endpoint in reversed(self._seen) if endpoint.endpoint_name == name)


def _enter(endpoint: FakeEndpoint, state: str) -> None:
    endpoint.endpoint_status = state
    endpoint.last_modified_time = datetime.now(UTC).replace(tzinfo=None)


def _refuse_second(what: str, name: str, there: Mapping[str, object], response: Any) -> None:
    if name in there:
        arn = _arn(what.replace(" configuration", "-config"), name, response)
        raise AWSValidationException(f'Cannot create already existing {what} "{arn}".')


def _arn(kind: str, name: str, response: Any) -> str:
    return f"arn:aws:sagemaker:{response.region}:{response.current_account}:{kind}/{name}"
