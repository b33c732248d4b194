"""The training pipeline on this machine, as SageMaker Pipelines would run it: the same definition, without an account.

run goes through the steps, world is what stands for AWS around them: S3 is a folder (folder_s3), the endpoint is the
local one. jobs does what SageMaker does around a container, in processes of which none is left behind.
"""
