"""The same chat six times: what an application writes for its answers to resume.

``python -m docs.glue`` counts the lines; ``docs/glue.md`` says what they do.
"""
