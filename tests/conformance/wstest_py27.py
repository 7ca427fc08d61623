"""Start `wstest` of the Autobahn test suite headless, on CPython 2.7. (This file is valid Python 3 too, for linters.)

Usage: python2.7 wstest_py27.py SITE [wstest options]; SITE is the folder that `environment.py` filled.

Five things differ from the suite's own start, and none touches what a case sends or how it is judged:

- TLS is a stand-in (the cases are plain `ws://`), so that no compiled OpenSSL binding is needed.
- The WAMP serializer tests, which pull in a test framework, are a stand-in too.
- The newer Autobahn library that exists as a wheel no longer takes the `debug` arguments the suite passes.
- The timer of that release rounds to whole seconds, down, so that a timeout of one second may be over at once.
- `wsaccel`, a C extension that the library prefers where it is installed, is replaced by the quick pure classes below.
  Text that the quick check does not find plainly valid goes through the library's own validator.
"""

import os
import re
import site
import sys
import types

SITE = os.path.abspath(sys.argv.pop(1))
site.addsitedir(SITE)  # not just sys.path: zope.interface is a namespace package and wants its .pth read
sys.path.insert(0, SITE)


def stand_in(name, **content):
    """Put a module of this name and content where imports look first."""
    module = types.ModuleType(name)
    module.__dict__.update(content)
    sys.modules[name] = module
    return module


class XorMaskerNull(object):  # noqa: UP004  # CPython 2.7: a new-style class
    """Leave the payload as it is."""

    def __init__(self, mask=None):
        self.ptr = 0

    def pointer(self):
        return self.ptr

    def reset(self):
        self.ptr = 0

    def process(self, data):
        self.ptr += len(data)
        return data


class XorMasker(object):  # noqa: UP004  # CPython 2.7: a new-style class
    """Mask by translating every fourth byte at once, which is a loop in C."""

    def __init__(self, mask):
        self.ptr = 0
        keys = bytearray(mask)
        self.tables = [bytes(bytearray(value ^ key for value in range(256))) for key in keys]

    def pointer(self):
        return self.ptr

    def reset(self):
        self.ptr = 0

    def process(self, data):
        payload = bytearray(data)
        for place in range(4):
            payload[place::4] = payload[place::4].translate(self.tables[(self.ptr + place) & 3])
        self.ptr += len(payload)
        return bytes(payload)


def create_xor_masker(mask, length=None):
    """Return a masker for one frame."""
    return XorMasker(mask)


import twisted.internet  # noqa: E402  # the path is set above

twisted.internet.ssl = stand_in("twisted.internet.ssl", ClientContextFactory=object)
stand_in("autobahn.wamp.test.test_serializer", generate_test_messages=None)
stand_in("wsaccel")
stand_in("wsaccel.xormask", XorMaskerNull=XorMaskerNull, createXorMasker=create_xor_masker)

from autobahn.websocket import utf8validator  # noqa: E402

PLAIN_STATE = utf8validator.UTF8_ACCEPT
SURROGATE = re.compile(b"\xed[\xa0-\xbf]")  # CPython 2.7's decoder lets these through


class QuickUtf8Validator(utf8validator.Utf8Validator):
    """Validate a chunk in C where it is plainly valid, and with the library's own automaton elsewhere."""

    def validate(self, chunk):
        if self.state == PLAIN_STATE:
            octets = bytes(chunk)
            try:
                octets.decode("utf-8")
            except UnicodeDecodeError:
                pass
            else:
                if not SURROGATE.search(octets):
                    self.i += len(octets)
                    return True, True, len(octets), self.i
        return utf8validator.Utf8Validator.validate(self, chunk)


from autobahn.twisted import websocket as twisted_websocket  # noqa: E402
from autobahn.websocket import protocol  # noqa: E402

protocol.Utf8Validator = QuickUtf8Validator


def without_debug_arguments(factory):
    """Return a factory class that takes and drops `debug` and `debugCodePaths`, as older releases took them."""

    class Factory(factory):
        def __init__(self, *args, **options):
            self.debug = options.pop("debug", False)
            options.pop("debugCodePaths", None)
            factory.__init__(self, *args, **options)

    return Factory


for name in ("WebSocketServerFactory", "WebSocketClientFactory"):
    setattr(twisted_websocket, name, without_debug_arguments(getattr(twisted_websocket, name)))
for name in ("WebSocketServerProtocol", "WebSocketClientProtocol"):
    getattr(twisted_websocket, name).debug = False

from autobahntestsuite import wstest  # noqa: E402  # it installs the reactor
from twisted.internet import reactor  # noqa: E402


class Timer(object):  # noqa: UP004  # CPython 2.7: a new-style class
    """Keep time exactly."""

    def call_later(self, *args, **options):
        return reactor.callLater(*args, **options)


protocol.WebSocketProtocol._batched_timer = Timer()


def say_running():
    """Tell who started us that the ports are open."""
    sys.stdout.write("wstest: running\n")
    sys.stdout.flush()


reactor.callWhenRunning(say_running)
wstest.run()
