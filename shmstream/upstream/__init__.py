"""Where answers come from: an OpenAI-compatible server, or the demo model.

``source`` is the interface of both, ``proxied`` the server, ``demo`` the model.
"""
