"""Build the compiled modules; everything else stands in pyproject.toml.

They are optional: where they cannot be built, Telex installs without them and runs on their pure Python twins.
`TELEX_SANITIZE=1` builds them with the address and undefined-behaviour sanitizers, for `make test-sanitize`.
"""

from __future__ import annotations

import os
import sys

from Cython.Build import cythonize
from setuptools import Extension, setup

SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g"]

is_sanitized = os.environ.get("TELEX_SANITIZE") == "1"
flags = ([*SANITIZE, "-O1"] if is_sanitized else ["-O3"]) if sys.platform != "win32" else []

modules = ["websocket/_frames", "websocket/_handover", "engineio/_messages", "socketio/_events", "socketio/_pools"]
if sys.platform == "linux":
    modules.append("streams/_epoll")

extensions = cythonize(
    [
        Extension(
            f"telex.{module.replace('/', '.')}",
            [f"src/telex/{module}.pyx"],
            include_dirs=["src/telex/streams"],
            depends=["src/telex/streams/native.h", "src/telex/websocket/_frames.pxd", "src/telex/socketio/_pools.pxd"],
            extra_compile_args=flags,
            extra_link_args=SANITIZE[:1] if is_sanitized else [],
        )
        for module in modules
    ],
    build_dir="build",
    include_path=["src"],
)
for extension in extensions:
    extension.optional = not is_sanitized  # said here, for `cythonize` makes new extensions and forgets it

setup(ext_modules=extensions)
