"""Living under gunicorn."""
