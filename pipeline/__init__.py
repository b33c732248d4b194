"""The `medley` command, and what it does before and outside the image. Which module is which:

    the words      cli, *_cli, pack_command, serve_command; options, terminal, failed: what they share
    inspection     what is in an artifact, without running anything of it
    rooms          project, aws, artifact, image, deploy, infrastructure, training, invoke, local_mode, demo: each says
                   what is in it
    lambda_deploy  the project's function

What AWS Lambda runs (lambda_deploy, and all that it imports) has the standard library and boto3 alone.
"""
