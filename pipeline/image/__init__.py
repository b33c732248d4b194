"""The image: from git's tracked files (source) to an address by digest in ECR (ecr).

build has CodeBuild do it, and tells its log (build_log) as it comes; build_local does it with the engine of this
machine. Either finds an image of the same source that is there already, and makes none.
"""
