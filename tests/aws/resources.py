"""The kinds of resources that the stand-in's CloudFormation makes, by the calls of each one's service: so it is there.

A kind has three calls: make(client, properties) -> Made, change(client, made, properties) -> Made, and remove(client,
made). `client` gives boto3's client of a service. What a service refuses is a ClientError, and the resource's failure.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Client = Callable[[str], Any]
Properties = Mapping[str, Any]


@dataclass(frozen=True)
class Made:
    """What `Ref` and `Fn::GetAtt` say of a resource, and the properties that it was made with."""

    ref: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    properties: Properties = field(default_factory=dict)
    kind: str = ""


@dataclass(frozen=True)
class Kind:
    make: Callable[[Client, Properties], Made]
    change: Callable[[Client, Made, Properties], Made]
    remove: Callable[[Client, Made], object]


# S3


def _bucket(client: Client, wanted: Properties) -> Made:
    s3, name = client("s3"), wanted["BucketName"]
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name})
    return _bucket_settings(client, Made(name), wanted)


def _bucket_settings(client: Client, made: Made, wanted: Properties) -> Made:
    s3, name = client("s3"), wanted["BucketName"]
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration=wanted["VersioningConfiguration"])
    rules = [
        {"ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"]}
        for rule in wanted["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    ]
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": rules})
    blocked = wanted["PublicAccessBlockConfiguration"]
    s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=blocked)
    s3.put_bucket_ownership_controls(Bucket=name, OwnershipControls=wanted["OwnershipControls"])
    s3.put_bucket_lifecycle_configuration(
        Bucket=name, LifecycleConfiguration={"Rules": [*map(_lifecycle, wanted["LifecycleConfiguration"]["Rules"])]}
    )
    s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": wanted["Tags"]})
    return Made(name, {"Arn": f"arn:aws:s3:::{name}"}, wanted)


def _lifecycle(rule: Properties) -> dict[str, Any]:
    """S3's own words for CloudFormation's."""
    told = {name: value for name, value in rule.items() if name not in ("Id", "Prefix", "ExpirationInDays")}
    told |= {"ID": rule["Id"], "Filter": {"Prefix": rule.get("Prefix", "")}}
    return told | ({"Expiration": {"Days": int(rule["ExpirationInDays"])}} if "ExpirationInDays" in rule else {})


def _bucket_policy(client: Client, wanted: Properties) -> Made:
    client("s3").put_bucket_policy(Bucket=wanted["Bucket"], Policy=json.dumps(wanted["PolicyDocument"]))
    return Made(wanted["Bucket"], {}, wanted)


# ECR


def _repository(client: Client, wanted: Properties) -> Made:
    name, immutable = wanted["RepositoryName"], wanted["ImageTagMutability"]
    made = client("ecr").create_repository(
        repositoryName=name,
        imageTagMutability=immutable,
        imageScanningConfiguration=_camel(wanted["ImageScanningConfiguration"]),
        encryptionConfiguration=_camel(wanted["EncryptionConfiguration"]),
        tags=wanted["Tags"],
    )["repository"]
    attributes = {"Arn": made["repositoryArn"], "RepositoryUri": made["repositoryUri"]}
    return _repository_settings(client, Made(name, attributes), wanted)


def _repository_settings(client: Client, made: Made, wanted: Properties) -> Made:
    ecr, text = client("ecr"), wanted["LifecyclePolicy"]["LifecyclePolicyText"]
    ecr.put_image_tag_mutability(repositoryName=made.ref, imageTagMutability=wanted["ImageTagMutability"])
    ecr.put_lifecycle_policy(repositoryName=made.ref, lifecyclePolicyText=text)
    return Made(made.ref, made.attributes, wanted)


# IAM


def _role(client: Client, wanted: Properties) -> Made:
    name = wanted["RoleName"]
    trust = json.dumps(wanted["AssumeRolePolicyDocument"])
    made = client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=trust, Tags=wanted["Tags"])["Role"]
    return _role_policies(client, Made(name, {"Arn": made["Arn"], "RoleId": made["RoleId"]}), wanted)


def _role_policies(client: Client, made: Made, wanted: Properties) -> Made:
    iam = client("iam")
    iam.update_assume_role_policy(RoleName=made.ref, PolicyDocument=json.dumps(wanted["AssumeRolePolicyDocument"]))
    for policy in wanted["Policies"]:
        document = json.dumps(policy["PolicyDocument"])
        iam.put_role_policy(RoleName=made.ref, PolicyName=policy["PolicyName"], PolicyDocument=document)
    names = {policy["PolicyName"] for policy in wanted["Policies"]}
    for name in set(iam.list_role_policies(RoleName=made.ref)["PolicyNames"]) - names:
        iam.delete_role_policy(RoleName=made.ref, PolicyName=name)
    return Made(made.ref, made.attributes, wanted)


def _remove_role(client: Client, made: Made) -> None:
    iam = client("iam")
    for name in iam.list_role_policies(RoleName=made.ref)["PolicyNames"]:
        iam.delete_role_policy(RoleName=made.ref, PolicyName=name)
    iam.delete_role(RoleName=made.ref)


# CodeBuild, Lambda


def _build(client: Client, wanted: Properties) -> Made:
    words = {name: _camel(value) for name, value in wanted.items() if name != "Tags"}
    words["Source"]["buildspec"] = words["Source"].pop("buildSpec")
    words["Source"].setdefault("location", "none")  # moto wants one even of NO_SOURCE
    words["Tags"] = [{"key": tag["Key"], "value": tag["Value"]} for tag in wanted["Tags"]]
    numbers = {name: int(words[name]) for name in ("TimeoutInMinutes", "QueuedTimeoutInMinutes")}
    made = client("codebuild").create_project(
        **{name[:1].lower() + name[1:]: v for name, v in (words | numbers).items()}
    )
    return Made(wanted["Name"], {"Arn": made["project"]["arn"]}, wanted)


def _rebuild(client: Client, made: Made, wanted: Properties) -> Made:
    client("codebuild").delete_project(name=made.ref)  # moto has no UpdateProject
    return _build(client, wanted)


def _function(client: Client, wanted: Properties) -> Made:
    words = {**wanted, "MemorySize": int(wanted["MemorySize"]), "Timeout": int(wanted["Timeout"])}
    words["Tags"] = {tag["Key"]: tag["Value"] for tag in wanted["Tags"]}
    made = client("lambda").create_function(**words)
    return Made(wanted["FunctionName"], {"Arn": made["FunctionArn"]}, wanted)


def _change_function(client: Client, made: Made, wanted: Properties) -> Made:
    code = wanted["Code"]
    client("lambda").update_function_code(FunctionName=made.ref, S3Bucket=code["S3Bucket"], S3Key=code["S3Key"])
    return Made(made.ref, made.attributes, wanted)


# Logs, alarms


def _log_group(client: Client, wanted: Properties) -> Made:
    client("logs").create_log_group(logGroupName=wanted["LogGroupName"])
    return _retention(client, Made(wanted["LogGroupName"]), wanted)


def _retention(client: Client, made: Made, wanted: Properties) -> Made:
    logs = client("logs")
    logs.put_retention_policy(logGroupName=made.ref, retentionInDays=int(wanted["RetentionInDays"]))
    found = logs.describe_log_groups(logGroupNamePrefix=made.ref)["logGroups"]
    arn = next(group["arn"] for group in found if group["logGroupName"] == made.ref)
    return Made(made.ref, {"Arn": arn if arn.endswith(":*") else f"{arn}:*"}, wanted)


def _alarm(client: Client, wanted: Properties) -> Made:
    whole = {name: int(wanted[name]) for name in ("Period", "EvaluationPeriods", "DatapointsToAlarm") if name in wanted}
    client("cloudwatch").put_metric_alarm(**{**wanted, **whole, "Threshold": float(wanted["Threshold"])})
    return Made(wanted["AlarmName"], {}, wanted)


def _topic(client: Client, wanted: Properties) -> Made:
    return Made(client("sns").create_topic(Name=wanted["TopicName"])["TopicArn"], {}, wanted)


def _subscription(client: Client, wanted: Properties) -> Made:
    said = client("sns").subscribe(**wanted, ReturnSubscriptionArn=True)
    return Made(said["SubscriptionArn"], {}, wanted)


def _camel(value: Any) -> Any:
    """The names of a service's call for those of CloudFormation: Type -> type."""
    if isinstance(value, Mapping):
        return {name[:1].lower() + name[1:]: _camel(one) for name, one in value.items()}
    return [_camel(one) for one in value] if isinstance(value, list) else value


def _again(make: Callable[[Client, Properties], Made]) -> Callable[[Client, Made, Properties], Made]:
    """Of services whose call makes or changes, whichever it is."""
    return lambda client, _, wanted: make(client, wanted)


def _renamed(name: str, kind: Kind, keeps: bool = False) -> Kind:
    """Another name is another resource. keeps: the one before (UpdateReplacePolicy)."""

    def change(client: Client, made: Made, wanted: Properties) -> Made:
        if made.ref == wanted[name]:
            return kind.change(client, made, wanted)
        new = kind.make(client, wanted)
        if not keeps:
            kind.remove(client, made)
        return new

    return Kind(kind.make, change, kind.remove)


_BUCKET = Kind(_bucket, _bucket_settings, lambda client, made: client("s3").delete_bucket(Bucket=made.ref))
_LOGS = Kind(_log_group, _retention, lambda client, made: client("logs").delete_log_group(logGroupName=made.ref))
KINDS: dict[str, Kind] = {
    "AWS::S3::Bucket": _renamed("BucketName", _BUCKET, keeps=True),
    "AWS::S3::BucketPolicy": Kind(
        _bucket_policy,
        _again(_bucket_policy),
        lambda client, made: client("s3").delete_bucket_policy(Bucket=made.ref),
    ),
    "AWS::ECR::Repository": Kind(
        _repository,
        _repository_settings,
        lambda client, made: client("ecr").delete_repository(repositoryName=made.ref),
    ),
    "AWS::IAM::Role": Kind(_role, _role_policies, _remove_role),
    "AWS::CodeBuild::Project": Kind(
        _build, _rebuild, lambda client, made: client("codebuild").delete_project(name=made.ref)
    ),
    "AWS::Lambda::Function": Kind(
        _function,
        _change_function,
        lambda client, made: client("lambda").delete_function(FunctionName=made.ref),
    ),
    "AWS::Logs::LogGroup": _renamed("LogGroupName", _LOGS),
    "AWS::CloudWatch::Alarm": Kind(
        _alarm,
        _again(_alarm),
        lambda client, made: client("cloudwatch").delete_alarms(AlarmNames=[made.ref]),
    ),
    "AWS::SNS::Topic": Kind(_topic, _again(_topic), lambda client, made: client("sns").delete_topic(TopicArn=made.ref)),
    "AWS::SNS::Subscription": Kind(
        _subscription,
        _again(_subscription),
        lambda client, made: client("sns").unsubscribe(SubscriptionArn=made.ref),
    ),
}
