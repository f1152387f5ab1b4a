"""Running under gunicorn: its hooks, its insides, its parser and its log."""
