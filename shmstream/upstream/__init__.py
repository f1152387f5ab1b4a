"""Where answers come from: an OpenAI-compatible server, or the demo model.

``source`` is the interface of both, ``connections`` the server, ``demo`` the model.
"""
