"""All that Medley asks of AWS goes through here: boto3's clients, typed, with limits said, and its errors as sentences.

    Clients.of(project)     AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_{SERVICE} are honoured, as boto3 does
    clients.resolve(project)  the project with the caller's account, refused where it is another's, or another region's
    with asking("..."):     boto3's errors leave as Failed (words.py)

Standard library and boto3 only: the function in AWS Lambda uses it too.
"""

import os
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from pipeline.aws.words import asking, code, failed, sentence, status
from pipeline.failed import UNREACHABLE, Failed
from pipeline.project.records import Project

if TYPE_CHECKING:
    from mypy_boto3_application_autoscaling import ApplicationAutoScalingClient
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_codebuild import CodeBuildClient
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_pricing import PricingClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient
    from mypy_boto3_sts import STSClient

__all__ = ["Clients", "asking", "code", "failed", "sentence", "status"]
_CONNECT_SECONDS = 5.0
_INFERENCE_SECONDS = 70.0  # SageMaker gives an invocation 60
_SERVICES = {"application-autoscaling": "application-auto-scaling", "logs": "cloudwatch-logs"}  # as variables have them
_PRICING_REGION = "us-east-1"  # the Pricing API answers in few regions


@dataclass(frozen=True)
class Clients:
    """One client for each service, made when it is first used. endpoint_url stands for AWS_ENDPOINT_URL, and a
    service's own variable goes before it. attempts: how often boto3 sends a call in all; seconds: how long an answer
    is waited for."""

    region: str
    account: str | None = None
    bucket: str = ""
    endpoint_url: str | None = None
    attempts: int = 4
    seconds: float = 60.0

    @classmethod
    def of(
        cls, project: Project, endpoint_url: str | None = None, attempts: int = 4, seconds: float = 60.0
    ) -> "Clients":
        return cls(project.region, project.account, project.bucket, endpoint_url, attempts, seconds)

    @cached_property
    def s3(self) -> "S3Client":
        return self._client("s3")  # type: ignore[no-any-return]

    @cached_property
    def sagemaker(self) -> "SageMakerClient":
        return self._client("sagemaker")  # type: ignore[no-any-return]

    @cached_property
    def runtime(self) -> "SageMakerRuntimeClient":
        """Sends each call once: an inference is never silently repeated."""
        return self._client("sagemaker-runtime", attempts=1, seconds=_INFERENCE_SECONDS)  # type: ignore[no-any-return]

    @cached_property
    def codebuild(self) -> "CodeBuildClient":
        return self._client("codebuild")  # type: ignore[no-any-return]

    @cached_property
    def ecr(self) -> "ECRClient":
        return self._client("ecr")  # type: ignore[no-any-return]

    @cached_property
    def cloudformation(self) -> "CloudFormationClient":
        return self._client("cloudformation")  # type: ignore[no-any-return]

    @cached_property
    def cloudwatch(self) -> "CloudWatchClient":
        return self._client("cloudwatch")  # type: ignore[no-any-return]

    @cached_property
    def logs(self) -> "CloudWatchLogsClient":
        return self._client("logs")  # type: ignore[no-any-return]

    @cached_property
    def autoscaling(self) -> "ApplicationAutoScalingClient":
        return self._client("application-autoscaling")  # type: ignore[no-any-return]

    @cached_property
    def sts(self) -> "STSClient":
        return self._client("sts")  # type: ignore[no-any-return]

    @cached_property
    def function(self) -> "LambdaClient":
        return self._client("lambda")  # type: ignore[no-any-return]

    @cached_property
    def pricing(self) -> "PricingClient":
        return self._client("pricing", region=_PRICING_REGION)  # type: ignore[no-any-return]

    def url_of(self, service: str) -> str | None:
        """What is asked instead of AWS; None where boto3 finds that by itself."""
        return None if _variable(service) in os.environ else self.endpoint_url

    def check_account(self) -> str:
        """The caller's account. Raises Failed where it, the region or the bucket's region is not the project's: before
        anything is made."""
        with asking("say whose account this is"):
            here = self.sts.get_caller_identity()["Account"]
        if self.account not in (None, here):
            raise Failed(
                f"These credentials are of account {here}, and medley.toml says {self.account}: nothing was done. "
                f"Choose other credentials (AWS_PROFILE), or mend `account`."
            )
        if self.bucket and (region := self._bucket_region()) not in (None, self.region):
            raise Failed(
                f"The bucket {self.bucket} is in {region}, and medley.toml says region {self.region}: nothing was "
                f"done. Mend `region`, or name another `bucket`."
            )
        return here

    def resolve(self, project: Project) -> Project:
        """The project with its account, and so with all its names. Raises Failed as check_account does."""
        self._check_region()
        return replace(project, account=self.check_account())

    def _check_region(self) -> None:
        with asking("be asked"):
            known = _regions(Project("", self.region).partition)
        if self.region not in known:
            raise Failed(
                f"{self.region} is no region that boto3 knows SageMaker in: nothing was done. "
                f"Mend `region` in medley.toml; for a region newer than boto3, update boto3."
            )

    def _bucket_region(self) -> str | None:
        """None where it is not there, or not to be seen."""
        try:
            return self.s3.head_bucket(Bucket=self.bucket)["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
        except ClientError as error:
            headers = error.response["ResponseMetadata"].get("HTTPHeaders", {})
            return headers.get("x-amz-bucket-region") if status(error) in (301, 400) else None
        except BotoCoreError as error:
            raise failed(error, f"say where the bucket {self.bucket} is") from error

    def _client(
        self, service: str, attempts: int | None = None, seconds: float | None = None, region: str | None = None
    ) -> Any:
        url = self.url_of(service)
        config = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=seconds or self.seconds,
            retries={"mode": "standard", "total_max_attempts": attempts or self.attempts},
        )
        if service == "s3" and (url or {"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"} & set(os.environ)):
            config = config.merge(Config(s3={"addressing_style": "path"}))  # no DNS has names for its buckets
        with asking(f"be asked for {service}"):
            try:
                return boto3.client(service, region_name=region or self.region, endpoint_url=url, config=config)
            except ValueError as error:  # of what is no URL
                if isinstance(error, BotoCoreError):
                    raise
                where = f"--endpoint-url or {_variable(service)}"
                raise Failed(f"AWS cannot be asked for {service}: {error}. Mend {where}.", UNREACHABLE) from error


@cache
def _regions(partition: str) -> frozenset[str]:
    """Where SageMaker is, as far as boto3 knows. It reads all of the service's model for that: once is enough."""
    return frozenset(boto3.Session().get_available_regions("sagemaker", partition))


def _variable(service: str) -> str:
    name = _SERVICES.get(service, service).upper().replace("-", "_")
    return f"AWS_ENDPOINT_URL_{name}"
