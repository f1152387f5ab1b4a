"""``shmstream`` on the command line: for whoever runs a deployment.

``main`` finds the commands; each is a module of its own, imported when it is run.
"""
