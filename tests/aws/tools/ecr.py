"""`aws ecr get-login-password` and `aws ecr describe-images`, with the options that buildspec.yml gives them.

The standard library alone: it is to start in no time. The stand-in checks no signature, so there is none.
"""

import argparse
import base64
import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any


def ask(operation: str, region: str, **request: Any) -> Any:
    """Ends with the CLI's own words where ECR refuses."""
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": f"AmazonEC2ContainerRegistry_V20150921.{operation}",
        "Authorization": f"AWS4-HMAC-SHA256 Credential=build/20260101/{region}/ecr/aws4_request, Signature=none",
    }
    call = urllib.request.Request(os.environ["AWS_ENDPOINT_URL"], json.dumps(request).encode(), headers)
    try:
        with urllib.request.urlopen(call) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        told = json.load(error)
        kind = str(told.get("__type", "")).rpartition("#")[2]
        sys.exit(f"An error occurred ({kind}) when calling the {operation} operation: {told.get('message')}")


def main() -> None:
    parser = argparse.ArgumentParser("aws")
    parser.add_argument("service", choices=["ecr"])
    commands = parser.add_subparsers(dest="command", required=True)
    login = commands.add_parser("get-login-password")
    describe = commands.add_parser("describe-images")
    for command in (login, describe):
        command.add_argument("--region", default=os.environ.get("AWS_REGION"))
    describe.add_argument("--repository-name", required=True)
    describe.add_argument("--image-ids", required=True)
    describe.add_argument("--query", choices=["imageDetails[0].imageDigest"])
    describe.add_argument("--output", choices=["text"])
    words = parser.parse_args()
    if words.command == "get-login-password":
        token = ask("GetAuthorizationToken", words.region)["authorizationData"][0]["authorizationToken"]
        print(base64.b64decode(token).decode().partition(":")[2])
        return
    name, _, value = words.image_ids.partition("=")
    found = ask("DescribeImages", words.region, repositoryName=words.repository_name, imageIds=[{name: value}])
    print(found["imageDetails"][0]["imageDigest"])


if __name__ == "__main__":
    main()
