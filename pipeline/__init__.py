"""The `medley` command, and what it does before and outside the image. Which module is which:

    the words      cli, *_cli, pack_command, serve_command; options, terminal, failed: what they share
    rooms          project, aws, artifact, image: each says what is in it
    inspection     what is in an artifact, without running anything of it
    the ground     bootstrap, destroy: infrastructure.yaml as a stack; stack, function_code, removal
    an endpoint    deploy: deploy_state, _desired, _image -> deploy_plan -> deploy_steps, _wait; warm, status, cost
    a pipeline     definition: its steps and check; pipeline_remote: in an account; local_run: here; lambda_deploy,
                   gather, verdict: the project's function
    a call         client: medley.Client; invoking; endpoint_client, local, fitting: the endpoint of this machine
    a show         demo

What AWS Lambda runs (lambda_deploy, and all that it imports) has the standard library and boto3 alone.
"""
