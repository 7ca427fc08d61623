"""What `telex run` says when it is ready.

Rule of this module: text.
"""

from __future__ import annotations

import asyncio
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from telex import native
from telex.serving.asgi import Server

if TYPE_CHECKING:
    import uvicorn

__all__ = ["banner"]


def banner(config: uvicorn.Config, addresses: list[Any], app: Any) -> str:
    """Say where a server listens and what runs it."""
    lines = [f"Telex {version('telex')}"]
    if config.uds is not None:
        lines.append(f"  listening   {config.uds}")
    else:
        for host, port, *_ in addresses:
            name = f"[{host}]" if ":" in host else host
            lines.append(f"  listening   {'https' if config.is_ssl else 'http'}://{name}:{port}")
    if isinstance(app, Server):
        lines.append(f"  Socket.IO   {config.root_path}{app.path.rstrip('/')}/ over {' and '.join(app.transports)}")
    try:
        loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    except RuntimeError:  # the processes that serve have one each
        loop = f"{config.workers} processes"
    implementation = f"{platform.python_implementation()} {platform.python_version()}"
    lines.append(f"  running on  {implementation}, {loop}, {native.describe()}")
    lines.append("  Ctrl-C stops it")
    return "\n".join(lines) + "\n"
