"""What `telex run` says when it is ready.

Rule of this module: text.
"""

from __future__ import annotations

import asyncio
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from telex import native

if TYPE_CHECKING:
    import uvicorn

    from telex.serving.asgi import Server

__all__ = ["banner"]


def banner(config: uvicorn.Config, addresses: list[Any], app: Server | None) -> str:
    """Say where a server listens and what runs it; `app` is the application, where it is a Telex server itself."""
    lines = [f"Telex {version('telex')}"]
    if config.uds is not None:
        lines.append(f"  listening   {config.uds}")
    else:
        for host, port, *_ in addresses:
            name = f"[{host}]" if ":" in host else host
            lines.append(f"  listening   {'https' if config.ssl else 'http'}://{name}:{port}")
    if app is not None:
        lines.append(f"  Socket.IO   {config.root_path}{app.path.rstrip('/')}/ over {' and '.join(app.transports)}")
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    implementation = f"{platform.python_implementation()} {platform.python_version()}"
    lines.append(f"  running on  {implementation}, {loop}, {native.describe()}")
    lines.append("  Ctrl-C stops it")
    return "\n".join(lines) + "\n"
