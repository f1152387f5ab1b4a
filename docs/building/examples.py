"""Has the reference show docstrings as they are written, with ``::`` before code.

An extension of griffe, which reads docstrings for mkdocstrings.
"""

from __future__ import annotations

from typing import Any

import griffe

from docs.building.docstrings import as_markdown


class Examples(griffe.Extension):
    """Turns each ``Example::`` into a code block that is highlighted."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of an object that was read."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
