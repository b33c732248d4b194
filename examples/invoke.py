"""Invokes the models of make_models.py through boto3, as code on AWS would, and catches what boto3 raises.

python examples/invoke.py http://127.0.0.1:8080
"""

import sys

import boto3
from sklearn.datasets import load_breast_cancer


def main(url: str) -> None:
    runtime = boto3.client(
        "sagemaker-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )

    def ask(target_model: str, row: str) -> str:
        answer = runtime.invoke_endpoint(
            EndpointName="examples", TargetModel=target_model, ContentType="text/csv", Body=row
        )
        return answer["Body"].read().decode()

    patient = ",".join(map(str, load_breast_cancer().data[0]))
    print("cancer:", ask("cancer.tar.gz", patient))
    print("iris:", ask("iris.tar.gz", "5.1,3.5,1.4,0.2"))
    try:
        ask("cancer.tar.gz", "1,2,3")
    except runtime.exceptions.ModelError as error:
        print("a wrong request:", error.response["OriginalStatusCode"], error.response["OriginalMessage"].strip())


if __name__ == "__main__":
    main(sys.argv[1])
