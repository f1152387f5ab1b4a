"""The example of ``useChat``, with a model that a test steers: see ``Script``."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

from examples.use_chat import app as example
from tests.producing.scripted import Gate, Script
from tests.producing.steered import AFTER, BEFORE

FOLDER = Path(os.environ.get('ANSWERS_FOLDER', '.'))


def model(prompt: str) -> AsyncIterator[str]:
    """Three texts, the gate that the prompt names, four texts."""
    return Script(Gate(FOLDER, prompt), BEFORE, AFTER).on_loop()


example.model = model
app = example.app
