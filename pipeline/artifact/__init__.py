"""Artifacts: from a model's folder to a name that an endpoint is asked by.

A folder becomes a .tar.gz: vendor brings what its code needs, judge loads it as the container would, pack measures and
writes it. publish judges one again and sends it: published has it under a key that never changes its bytes (upload is
the sending), and aliases has the name that stands for a version, moved and moved back. retire removes what no alias
stands for. published, upload and aliases are in the function of AWS Lambda too.
"""
