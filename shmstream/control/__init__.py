"""The control plane: how workers ask the supervisor for something."""
