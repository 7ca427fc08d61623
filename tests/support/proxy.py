"""Run a real proxy: `python -m tests.support.proxy URL`, with `--certificate FILE` for one that speaks TLS itself.

The URL is pproxy's: `http://127.0.0.1:0`, `socks5://127.0.0.1:0#user:password`, `http+ssl://...`; port 0 takes a free
one. It prints its port, and a line for each tunnel it opens.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import pproxy  # type: ignore[import-untyped]
import pproxy.server  # type: ignore[import-untyped]


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # the test reads it


async def serve(proxy: Any) -> None:
    listening = await proxy.start_server({"rserver": [], "verbose": say})
    say(f"listening http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    await listening.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--certificate")
    options = parser.parse_args()
    proxy = pproxy.Server(options.url)
    if options.certificate:
        for context in pproxy.server.sslcontexts:
            context.load_cert_chain(options.certificate)
    asyncio.run(serve(proxy))


if __name__ == "__main__":
    main()
