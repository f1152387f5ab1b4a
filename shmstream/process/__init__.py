"""One process's part in a deployment: what it holds, and what it does aside."""
