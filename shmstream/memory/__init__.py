"""Files and mappings: the runtime directory, segments, and the worker table."""
