"""Registered models that can be deleted, which moto lacks; a group only when it is empty, as on AWS."""

from collections.abc import Callable
from typing import Any

from moto.core.responses import EmptyResult
from moto.sagemaker.exceptions import AWSValidationException
from moto.sagemaker.responses import SageMakerResponse


def _delete_model_package(response: Any, _: Callable[[], Any]) -> EmptyResult:
    backend, name = response.sagemaker_backend, response._get_param("ModelPackageName")
    name = backend.model_package_name_mapping.get(name, name)
    if name not in backend.model_packages:
        raise AWSValidationException(f"Could not find ModelPackage {name}.")
    del backend.model_packages[name]
    return EmptyResult()


def _delete_model_package_group(response: Any, _: Callable[[], Any]) -> EmptyResult:
    backend, name = response.sagemaker_backend, response._get_param("ModelPackageGroupName")
    if name not in backend.model_package_groups:
        raise AWSValidationException(f"ModelPackageGroup {name} does not exist.")
    if any(one.model_package_group_name == name for one in backend.model_packages.values()):
        raise AWSValidationException(f"Cannot delete {name}: it has model packages.")
    del backend.model_package_groups[name]
    return EmptyResult()


OF = SageMakerResponse
OPERATIONS = {
    "delete_model_package": _delete_model_package,
    "delete_model_package_group": _delete_model_package_group,
}
