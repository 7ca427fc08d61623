"""The plan of the house, checked on the source text: who may import whom, who may touch the world, how long a file is.

The rule is that of ARCHITECTURE.md. The source is parsed and never imported, so that an import inside a function
or under `TYPE_CHECKING` counts like any other.
"""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).parent.parent / "src"

# From the ground up. A module may import what stands lower, its own floor's rooms, and on the top floor its neighbours.
FLOORS: list[set[str]] = [
    {"errors", "limits", "types", "native", "tokens", "logs", "backoff"},
    {"streams"},
    {"websocket"},
    {"engineio"},
    {"socketio"},
    {"sync"},
    {"serving", "cli", "__main__"},
    {"__init__"},
]

# These decide and encode; time, randomness and bytes are handed to them.
SANS_IO = {
    "telex.errors",
    "telex.limits",
    "telex.types",
    "telex.logs",
    "telex.backoff",
    "telex.streams.base",
    "telex.streams.deadlines",
    "telex.websocket.frames",
    "telex.websocket.codec",
    "telex.websocket.deflate",
    "telex.websocket.heads",
    "telex.websocket.handshake",
    "telex.websocket.redirects",
    "telex.websocket.connection",
    "telex.websocket.whatwg_rules",
    "telex.engineio.hints",
    "telex.engineio.handshake",
    "telex.engineio.cors",
    "telex.engineio.compression",
    "telex.engineio.packets",
    "telex.engineio.payloads",
    "telex.engineio.messages",
    "telex.engineio.fastpath",
    "telex.engineio.interfaces",
    "telex.engineio.sending",
    "telex.engineio.session",
    "telex.engineio.client.handshake",
    "telex.engineio.client.session",
    "telex.engineio.v3.jsonp",
    "telex.engineio.v3.packets",
    "telex.engineio.v3.payloads",
    "telex.engineio.v3.session",
    "telex.socketio.packets",
    "telex.socketio.parsers",
    "telex.socketio.dates",
    "telex.socketio.msgpack",
    "telex.socketio.parsing",
    "telex.socketio.reasons",
    "telex.socketio.rooms",
    "telex.socketio.rates",
    "telex.socketio.acks",
    "telex.socketio.backlog",
    "telex.socketio.recovery",
    "telex.socketio.dedup",
    "telex.socketio.client.states",
    "telex.socketio.client.outbox",
    "telex.socketio.client.retries",
    "telex.socketio.client.recovery",
    "telex.socketio.client.early",
}
# It looks at the environment once, to choose between twins that do the same.
CHOOSER = "telex.native"
# Compiled together, so in one module: what reads and writes events, and does no I/O, with what calls their handlers.
FAST_PATH = {"telex.socketio.events", "telex.socketio.fastpath"}
# What a codec may have of it.
FAST_CODEC = {"SCALAR_TYPES", "SMALL_JSON", "EventParser", "encode_event", "has_digits", "is_plain"}
WORLD = {
    "asyncio",
    "concurrent",
    "datetime",
    "multiprocessing",
    "os",
    "queue",
    "random",
    "secrets",
    "select",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
    "uuid",
}
# It computes with dates that are given to it; that it asks no clock is checked too.
ALLOWED = {"telex.socketio.dates": {"datetime"}}

MAX_LINES = 500
# A longer module states its reason here.
LONG_MODULES: dict[str, str] = {
    "telex/serving/conversation.py": "one conversation: what answers it, and who takes it over, need the same phases",
    "telex/socketio/socket.py": "one object that programs hold: half of it is the public methods and their docstrings",
    "telex/websocket/api.py": "one object that programs hold: inbox, room and deadlines serve the same connection",
    "telex/websocket/connection.py": "one state machine: its three stimuli need one another, and half of it is prose",
    "telex/websocket/frames.py": "the specification of its compiled twin, name by name; the reader alone is half of it",
    "telex/websocket/server.py": "one server: counting, deadlines and the end need the same set of streams",
}


class Import(NamedTuple):
    target: str
    line: int
    is_for_types_only: bool


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}
COMPILED = {module_name(path): path for path in sorted(SOURCE.rglob("*.pyx"))}


def is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def imports_of(tree: ast.AST, module: str, *, is_package: bool, types_only: bool = False) -> Iterator[Import]:
    """Yield every import in the tree, wherever it stands, with its target's full name."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and is_type_checking(node.test):
            for child in node.body:
                yield from imports_of(
                    ast.Module(body=[child], type_ignores=[]), module, is_package=is_package, types_only=True
                )
            for child in node.orelse:
                yield from imports_of(
                    ast.Module(body=[child], type_ignores=[]), module, is_package=is_package, types_only=types_only
                )
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, types_only)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if is_package else module.split(".")[:-1]
                anchor = package[: len(package) - node.level + 1]
                base = ".".join([*anchor, *([base] if base else [])])
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield Import(name if name in MODULES else base, node.lineno, types_only)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"importlib.import_module", "__import__"}:
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield Import(first.value, node.lineno, types_only)
        yield from imports_of(node, module, is_package=is_package, types_only=types_only)


IMPORTS: dict[str, list[Import]] = {
    name: list(imports_of(ast.parse(path.read_text("utf-8"), str(path)), name, is_package=path.name == "__init__.py"))
    for name, path in MODULES.items()
}


def room_of(module: str) -> str:
    """Name the package or module right under `telex` that the module belongs to."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def floor_of(module: str) -> int:
    room = room_of(module)
    for height, rooms in enumerate(FLOORS):
        if room in rooms:
            return height
    raise AssertionError(f"{module} stands on no floor: give it one in FLOORS and in ARCHITECTURE.md")


def is_ours(target: str) -> bool:
    return target == "telex" or target.startswith("telex.")


def test_the_source_was_found() -> None:
    assert {"telex.errors", "telex.limits", "telex.types"} <= MODULES.keys()


def test_every_import_is_seen_wherever_it_stands() -> None:
    tree = ast.parse(
        "import a.b\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from telex.errors import TelexError\n"
        "def f():\n    from .. import limits\n    importlib.import_module('telex.types')\n"
    )
    found = list(imports_of(tree, "telex.streams.base", is_package=False))
    assert found == [
        Import("a.b", 1, False),
        Import("typing", 2, False),
        Import("telex.errors", 4, True),
        Import("telex.limits", 6, False),
        Import("telex.types", 7, False),
    ]


@pytest.mark.parametrize("module", MODULES)
def test_nothing_imports_upwards(module: str) -> None:
    height = floor_of(module)
    wrong = [
        f"{module}:{line} imports {target}, which stands higher"
        for target, line, _ in IMPORTS[module]
        if is_ours(target) and floor_of(target) > height
    ]
    assert not wrong


@pytest.mark.parametrize("module", COMPILED)
def test_no_compiled_module_imports_upwards(module: str) -> None:
    found = re.findall(
        r"^\s*(?:from|import|cimport)\s+(telex[\w.]*)", COMPILED[module].read_text("utf-8"), re.MULTILINE
    )
    assert [target for target in found if floor_of(target) > floor_of(module)] == []


def test_the_imports_of_compiled_modules_are_seen() -> None:
    for module in ("telex.websocket._frames", "telex.socketio._events"):
        assert re.search(r"^from telex", COMPILED[module].read_text("utf-8"), re.MULTILINE)


def test_rooms_import_each_other_in_one_direction_only() -> None:
    graph: dict[str, set[str]] = {}
    for module, imports in IMPORTS.items():
        targets = {room_of(target) for target, _, _ in imports if is_ours(target)}
        graph.setdefault(room_of(module), set()).update(targets - {room_of(module)})
    graphlib.TopologicalSorter(graph).prepare()


def test_modules_import_each_other_in_one_direction_only() -> None:
    graph = {
        module: {
            target for target, _, types_only in imports if target in MODULES and target != module and not types_only
        }
        for module, imports in IMPORTS.items()
    }
    graphlib.TopologicalSorter(graph).prepare()


def test_socketio_reaches_the_wire_through_engineio() -> None:
    wrong = [
        f"{module}:{line} imports {target}"
        for module, imports in IMPORTS.items()
        if room_of(module) == "socketio"
        for target, line, _ in imports
        if is_ours(target) and room_of(target) == "websocket"
    ]
    assert not wrong


@pytest.mark.parametrize("module", sorted(SANS_IO & MODULES.keys()))
def test_codecs_and_state_machines_do_no_io(module: str) -> None:
    wrong = [
        f"{module}:{line} imports {target}"
        for target, line, types_only in IMPORTS[module]
        if target.split(".")[0] in WORLD - ALLOWED.get(module, set())
        or target == "logging.handlers"
        or (is_ours(target) and target not in SANS_IO | FAST_PATH | {CHOOSER} and not types_only)
    ]
    assert not wrong


@pytest.mark.parametrize("module", sorted(SANS_IO & MODULES.keys()))
def test_codecs_take_functions_of_data_from_the_fast_path_and_no_more(module: str) -> None:
    taken = {
        alias.name
        for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module in FAST_PATH
        for alias in node.names
    }
    assert taken <= FAST_CODEC


@pytest.mark.parametrize("module", ALLOWED)
def test_who_may_compute_with_dates_asks_no_clock(module: str) -> None:
    names = {node.attr for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))) if hasattr(node, "attr")}
    assert names
    assert not names & {"now", "utcnow", "today"}


@pytest.mark.parametrize("module", MODULES)
def test_no_import_stands_at_the_foot_of_a_file(module: str) -> None:
    """An import after the first definition is how a cycle is usually hidden."""
    body = ast.parse(MODULES[module].read_text("utf-8")).body
    definitions = [n.lineno for n in body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    first = min(definitions, default=None)
    late = [n.lineno for n in body if isinstance(n, ast.Import | ast.ImportFrom) and first and n.lineno > first]
    assert not late


def test_a_long_module_has_its_reason() -> None:
    lengths = {str(path.relative_to(SOURCE)): len(path.read_text("utf-8").splitlines()) for path in MODULES.values()}
    too_long = {name for name, length in lengths.items() if length > MAX_LINES}
    assert too_long == LONG_MODULES.keys(), "split the module, or give (or drop) its reason in LONG_MODULES"
