"""A project: what its medley.toml says, and every name in AWS that follows from that.

medley_toml reads the file, holds it against what schema lets it say, and tells every mistake by the line that lines
finds; what comes out is records.Project, frozen. The other rooms take that, and never the file.
"""
