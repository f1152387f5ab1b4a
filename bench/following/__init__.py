"""The parts of ``python -m bench follow``."""
