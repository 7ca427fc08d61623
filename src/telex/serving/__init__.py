"""How Telex is served: as an ASGI application, and on uvicorn by `telex run`."""
