"""What a project stands on in an account: infrastructure.yaml, as a stack of CloudFormation.

bootstrap brings the stack to what the template says, and puts the code of the project's function (function_code: the
modules that it imports, in a zip) where the stack takes it from. destroy first looks for what the other commands have
made beside the stack (removal), then removes all of it.
"""
