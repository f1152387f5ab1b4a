"""The bytes: layout, states, fence and ring. Knows no file, process or event loop."""
