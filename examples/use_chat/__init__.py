"""A chat of the AI SDK's ``useChat`` that survives reloads, cuts and deploys.

``app.py`` is all that the server needs, ``page.jsx`` all that the page needs. Build the
page once, and open http://127.0.0.1:8000/::

    cd examples/use_chat
    npm install ai @ai-sdk/react react react-dom esbuild
    npx esbuild page.jsx --bundle --jsx=automatic --outfile=page.js
    cd ../.. && gunicorn -c examples/gunicorn.conf.py examples.use_chat.app:app
"""
