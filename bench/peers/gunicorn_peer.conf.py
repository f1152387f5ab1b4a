"""gunicorn for the peers: all settings that affect the cost are as for shmstream."""

worker_class = 'asgi'
asgi_loop = 'uvloop'
http_parser = 'fast'
asgi_disconnect_grace_period = 0
graceful_timeout = 1
keepalive = 5
worker_tmp_dir = '/dev/shm'
backlog = 4096
