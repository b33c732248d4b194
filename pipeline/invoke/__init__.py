"""A running endpoint, asked: on AWS, or on this machine.

client is medley.Client, which asks by an alias; invoking is the one call below it, with its limits and what is asked
again. local is the endpoint of this machine as a process, and endpoint what only that one can be asked: which models
there are, load, unload, pin. fitting asks it which models would fit in a memory.
"""
