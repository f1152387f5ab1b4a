"""Sources that people have, each in a FastAPI application of its own."""
