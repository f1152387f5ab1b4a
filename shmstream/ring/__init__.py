"""A stream's bytes: layout, states, fence, ring. No file, process or event loop."""
