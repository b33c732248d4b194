"""The `medley` command, and what it does before and outside the image. Each room says what is in it, and how it flows:

    cli              the words of each command, and what it shows
    project          medley.toml, and the names that follow from it
    aws              boto3's clients, and AWS's errors in sentences
    artifact         a model's folder -> packed, published, aliased, retired
    image            git's tracked files -> an image in ECR
    infrastructure   what a project stands on: one stack
    deploy           an image -> an endpoint that serves; its status and cost
    training         the pipeline that trains, judges and deploys; local_mode: the same, on this machine
    invoke           an endpoint, asked: medley.Client, and the endpoint of this machine
    demo             a show of it

Beside them: failed, which all of them raise, and lambda_deploy, the project's function, by the name that
infrastructure.yaml has. What AWS Lambda runs (lambda_deploy, and all that it imports) has the standard library and
boto3 alone. Who may import whom is in tests/unit/test_rooms.py.
"""
