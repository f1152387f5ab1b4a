"""Where answers come from: an OpenAI-compatible server, or the demo model.

``source`` says what both have in common, ``proxied`` is the server, ``demo`` the model.
"""
