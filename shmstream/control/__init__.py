"""The control plane: requests of workers to the supervisor, and their replies."""
