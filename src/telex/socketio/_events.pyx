# cython: language_level=3, auto_pickle=False
# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""The compiled twin of `events.py`, which is its specification and says what everything here means."""

from cpython.dict cimport PyDict_GetItemWithError, PyDict_Next
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE, PyList_SetSlice
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from cpython.unicode cimport PyUnicode_Substring

cimport cython

from telex.socketio._pools cimport Stepper

from asyncio import CancelledError, _get_running_loop
from collections.abc import Callable
from inspect import isawaitable
from typing import Any

import msgspec

from telex.socketio.acks import as_values
from telex.socketio.broadcast import SENT, Sent
from telex.socketio.events import EVENT, MAX_PLAIN_DEPTH, MAX_PLAIN_DIGITS, SENDING, SMALL_JSON, State
from telex.socketio.handlers import Job, fail
from telex.socketio.packets import RESERVED_EVENTS
from telex.types import size_of

cdef extern from *:
    object _vectorcall "PyObject_Vectorcall"(PyObject *function, PyObject **args, size_t n, PyObject *kwnames)
    object _vectorcall_method "PyObject_VectorcallMethod"(PyObject *name, PyObject **args, size_t n, PyObject *kwnames)
    Py_UCS4 PyUnicode_READ_CHAR(object text, Py_ssize_t index) nogil
    Py_UCS4 PyUnicode_READ(int kind, const void *data, Py_ssize_t index) nogil
    int PyUnicode_KIND(object text) nogil
    const void *PyUnicode_DATA(object text) nogil
    bint PyUnicode_IS_ASCII(object text) nogil
    Py_ssize_t PyUnicode_GET_LENGTH(object text) nogil
    int PyUnicode_READY(object text) except -1
    bint PyUnicode_CheckExact(object text) nogil
    bint PyLong_CheckExact(object number) nogil
    bint PyFloat_CheckExact(object number) nogil
    bint PyBool_Check(object flag) nogil

__all__ = ["Emitter", "EventParser", "EventReceiver", "Registry", "encode_event", "has_digits", "is_plain"]

cdef object _decode = msgspec.json.Decoder().decode
cdef object _encode = msgspec.json.Encoder().encode
cdef object _undecodable = (msgspec.MsgspecError, RecursionError, UnicodeError)
cdef frozenset _reserved = RESERVED_EVENTS
cdef object _connected = State.CONNECTED
cdef object _connecting = State.CONNECTING
cdef object _sent = SENT
cdef str _send_text = "send_text"
cdef Py_UCS4 _event = EVENT
cdef Py_ssize_t _small_json = SMALL_JSON
cdef int _max_plain_depth = MAX_PLAIN_DEPTH
cdef int _max_plain_digits = MAX_PLAIN_DIGITS

assert set(SENDING) == {State.CONNECTED, State.CONNECTING}

cdef enum:
    MAX_ARGS = 8  # of a handler that is called without a tuple in between


cdef inline bint _is_scalar(object data) noexcept:
    return (
        PyUnicode_CheckExact(data) or data is None or PyLong_CheckExact(data) or PyFloat_CheckExact(data)
        or PyBool_Check(data)
    )


cdef bint _is_plain(object data, int depth) noexcept:
    cdef Py_ssize_t i, pos = 0
    cdef PyObject *key
    cdef PyObject *value
    if _is_scalar(data):
        return True
    if not depth:
        return False
    if type(data) is list:
        for i in range(PyList_GET_SIZE(data)):
            if not _is_plain(<object>PyList_GET_ITEM(data, i), depth - 1):
                return False
        return True
    if type(data) is tuple:
        for i in range(PyTuple_GET_SIZE(data)):
            if not _is_plain(<object>PyTuple_GET_ITEM(data, i), depth - 1):
                return False
        return True
    if type(data) is not dict:
        return False
    while PyDict_Next(data, &pos, &key, &value):
        if not (PyUnicode_CheckExact(<object>key) and _is_plain(<object>value, depth - 1)):
            return False
    return True


def is_plain(data, int depth=MAX_PLAIN_DEPTH):
    """Whether data is just what JSON has, in exactly these types; see `events.is_plain`."""
    return _is_plain(data, depth)


cdef (Py_ssize_t, Py_ssize_t) _measure(str text, Py_ssize_t start) noexcept:
    """Return how many brackets open, and the length of the longest run of digits."""
    cdef Py_ssize_t i, n_openings = 0, n_digits = 0, longest = 0
    cdef int kind = PyUnicode_KIND(text)
    cdef const void *data = PyUnicode_DATA(text)
    cdef Py_UCS4 char
    for i in range(start, PyUnicode_GET_LENGTH(text)):
        char = PyUnicode_READ(kind, data, i)
        if c'0' <= char <= c'9':
            n_digits += 1
            if n_digits > longest:
                longest = n_digits
        else:
            n_digits = 0
            if char == c'[' or char == c'{':
                n_openings += 1
    return n_openings, longest


def has_digits(str text not None, Py_ssize_t maximum):
    """Whether there are more than `maximum` ASCII digits in a row."""
    PyUnicode_READY(text)
    return _measure(text, 0)[1] > maximum


cdef bytes _encode_event(object event, tuple args):
    if not PyUnicode_CheckExact(event) or event in _reserved or not _is_plain(args, _max_plain_depth):
        return None
    cdef list values = [event]
    values.extend(args)
    return <bytes>_encode(values)


def encode_event(event, args):
    """Return the JSON of an event whose data is plain; see `events.encode_event`."""
    return _encode_event(event, tuple(args))


cdef class EventParser:
    """Read the small events that have no attachments; see `events.EventParser`."""

    cdef Py_ssize_t _max_namespace_length
    cdef Py_ssize_t _max_event_name
    cdef Py_ssize_t _max_depth
    cdef Py_ssize_t _max_digits
    cdef bint _counts_nodes

    def __init__(self, limits):
        # What no small event can reach is as good as any larger bound.
        self._max_namespace_length = min(limits.max_namespace_length, _small_json)
        self._max_event_name = min(limits.max_event_name, _small_json)
        self._max_depth = min(limits.max_json_depth, _small_json)
        self._max_digits = min(limits.max_number_digits, _small_json)
        self._counts_nodes = limits.max_json_nodes < SMALL_JSON

    def parse(self, str text not None):
        """Read one; see `events.EventParser.parse`."""
        cdef Py_ssize_t end_of_namespace
        cdef long long ack_id
        cdef list args = self.read(text, &end_of_namespace, &ack_id)
        if args is None:
            return None
        return (
            text[1:end_of_namespace] if end_of_namespace else "/",
            args.pop(0),
            args,
            None if ack_id < 0 else ack_id,
        )

    cdef list read(self, str text, Py_ssize_t *end_of_namespace, long long *ack_id):
        """Return the name and the arguments of one, or None; for the namespace where it ends, 0 for "/"."""
        cdef Py_ssize_t length, i = 1, first, start
        cdef Py_UCS4 char
        cdef list args
        PyUnicode_READY(text)
        length = PyUnicode_GET_LENGTH(text)
        if length < 2 or length > _small_json or self._counts_nodes or PyUnicode_READ_CHAR(text, 0) != _event:
            return None
        end_of_namespace[0], ack_id[0] = 0, -1
        char = PyUnicode_READ_CHAR(text, 1)
        if char == c'/':
            while char != c',':
                i += 1
                if i == length:
                    return None
                char = PyUnicode_READ_CHAR(text, i)
                if char == c'[':  # where the JSON is looked for
                    return None
            if i - 1 > self._max_namespace_length:
                return None
            if i > 2:
                end_of_namespace[0] = i
            i += 1
            if i == length:
                return None
            char = PyUnicode_READ_CHAR(text, i)
        first = i
        while char != c'[':
            if char < c'0' or char > c'9' or i - first == _max_plain_digits:
                return None
            ack_id[0] = (0 if i == first else ack_id[0] * 10) + (<int>char - <int>c'0')
            i += 1
            if i == length:
                return None
            char = PyUnicode_READ_CHAR(text, i)
        if i - first > 1 and PyUnicode_READ_CHAR(text, first) == c'0':
            return None
        start = i
        try:
            args = <list?>_decode(PyUnicode_Substring(text, start, length))
        except _undecodable:
            return None
        if not args:
            return None
        event = <object>PyList_GET_ITEM(args, 0)
        if (
            not PyUnicode_CheckExact(event)
            or PyUnicode_GET_LENGTH(event) > self._max_event_name
            or event in _reserved
        ):
            return None
        for i in range(1, PyList_GET_SIZE(args)):
            if not PyUnicode_CheckExact(<object>PyList_GET_ITEM(args, i)):
                n_openings, n_digits = _measure(text, start)
                if n_openings > self._max_depth or n_digits > self._max_digits:
                    return None
                break
        return args


cdef class Registry:
    """Hold what a namespace looks up for every event; see `events.Registry`."""

    cdef public dict handlers
    cdef public list catch_alls
    cdef public bytes event_head
    cdef public bytes ack_head


cdef class EventReceiver:
    """Receive as a connection; see `events.EventReceiver`."""

    cdef public object session
    cdef public object loop
    cdef public EventParser _parser
    cdef public object _decoder
    cdef public Emitter _root
    cdef public dict _others

    def message_received(self, data):
        """Take one message of the client."""
        cdef Py_ssize_t end_of_namespace
        cdef long long ack_id
        cdef list args
        cdef Emitter socket
        if self._parser is not None and PyUnicode_CheckExact(data) and self._decoder is None:
            args = self._parser.read(<str>data, &end_of_namespace, &ack_id)
            if args is not None:
                socket = self._root
                if end_of_namespace:
                    socket = None if self._others is None else self._others.get(data[1:end_of_namespace])
                if socket is not None and socket.state is _connected:
                    event = args[0]
                    PyList_SetSlice(args, 0, 1, <object>NULL)
                    socket.receive(
                        event,
                        args,
                        None if ack_id < 0 else ack_id,
                        PyUnicode_GET_LENGTH(data) if PyUnicode_IS_ASCII(data) else size_of(data),
                    )
                    return
        self._receive_message(data)

    def _receive_message(self, data):
        """Take what is no usual event: the subclass's."""
        raise NotImplementedError


cdef inline bint is_free(inbox) except -1:
    """Whether an inbox would handle an event at once."""
    if isinstance(inbox, Stepper):
        return not ((<Stepper>inbox).is_working or (<Stepper>inbox).is_shut)
    return inbox.is_free


cdef class Emitter:
    """Send and receive events as a socket; see `events.Emitter`."""

    cdef public Registry nsp
    cdef public EventReceiver connection
    cdef public object state
    cdef public bint is_direct_in
    cdef public bint is_direct_out
    cdef public object _inbox

    @cython.annotation_typing(False)  # they are for the reader alone
    def emit(self, event: str, *args: Any, callback: Callable[..., Any] | None = None) -> Sent:
        """Send an event to this client.

        The event is sent when this is called; awaiting the result waits until the client has room for more.
        After the disconnect nothing is sent.
        Args: `callback` is called with the values of the client's acknowledgement, if one comes before the disconnect
        (and within the time that `timeout` says).
        Raises `ValueError` for a reserved name, `TypeError` for data that cannot be sent, `TooManyAcks`, and
        `RuntimeError` in another thread than the event loop's: `loop.call_soon_threadsafe(socket.emit, ...)`.
        """
        cdef EventReceiver connection = self.connection
        cdef bytes body
        if callback is None and self.is_direct_out and self.is_sent_to() and _get_running_loop() is connection.loop:
            body = _encode_event(event, args)
            if body is not None:
                session = connection.session
                self.send_text(session, self.nsp.event_head, body)
                return _sent if session.is_clear else Sent(self)
        return self._emit(event, args, callback)

    cdef inline bint is_sent_to(self) noexcept:
        return self.state is _connected or self.state is _connecting

    cdef int send_text(self, session, bytes head, bytes body) except -1:
        cdef PyObject *args[3]
        args[0], args[1], args[2] = <PyObject *>session, <PyObject *>head, <PyObject *>body
        _vectorcall_method(<PyObject *>_send_text, args, 3, NULL)
        return 0

    def receive_event(self, event, list args not None, ack_id, Py_ssize_t n_bytes):
        """Take an event; see `events.Emitter.receive_event`."""
        self.receive(event, args, ack_id, n_bytes)

    cdef int receive(self, event, list args, ack_id, Py_ssize_t n_bytes) except -1:
        cdef Registry nsp = self.nsp
        cdef PyObject *found = PyDict_GetItemWithError(nsp.handlers, event)
        cdef Py_ssize_t n_max, n_args = PyList_GET_SIZE(args), i
        cdef PyObject *given[1 + MAX_ARGS]
        cdef PyObject **first
        cdef Py_ssize_t n_given
        cdef bint takes_socket
        inbox = self._inbox
        handler = None if found is NULL else <object>found
        if (
            not self.is_direct_in
            or handler is None
            or nsp.catch_alls
            or n_args < handler.n_min
            or (inbox is not None and not is_free(inbox))
        ):
            self._receive_event(event, args, ack_id, n_bytes)
            return 0
        most = handler.n_max
        if most is not None:
            n_max = most
            if n_args > n_max:
                PyList_SetSlice(args, n_max, n_args, <object>NULL)
                n_args = n_max
        takes_socket = handler.takes_socket
        if n_args <= MAX_ARGS:
            given[0] = <PyObject *>self
            for i in range(n_args):
                given[1 + i] = PyList_GET_ITEM(args, i)
            first, n_given = &given[0], 1 + n_args
            if not takes_socket:
                first, n_given = &given[1], n_args
        if handler.is_async:
            if inbox is None or handler.is_concurrent:
                self._receive_event(event, args, ack_id, n_bytes)
            elif n_args <= MAX_ARGS and isinstance(inbox, Stepper):
                (<Stepper>inbox).begin(self.connection.loop, handler, first, n_given, ack_id, n_bytes)
            else:
                inbox.step(handler, (self, *args) if takes_socket else tuple(args), ack_id, n_bytes)
            return 0
        try:
            function = handler.function
            if n_args <= MAX_ARGS:
                result = _vectorcall(<PyObject *>function, first, n_given, NULL)
            elif takes_socket:
                result = function(self, *args)
            else:
                result = function(*args)
            if result is _sent:  # what a lambda returns that emits: there is nothing to wait for
                result = None
            if not _is_scalar(result) and isawaitable(result):
                self._await_result(handler, result, ack_id, n_bytes)  # a plain function returned a coroutine
            elif ack_id is not None:
                self.reply(ack_id, result)
        except (Exception, CancelledError) as error:
            fail(Job(handler, ()), error)
        return 0

    def reply(self, ack_id, result):
        """Acknowledge an event with what its handler returned; see `events.Emitter.reply`."""
        cdef list values = as_values(result)
        if self.is_direct_out and self.is_sent_to() and _is_plain(values, _max_plain_depth):
            self.send_text(self.connection.session, b"%b%d" % (self.nsp.ack_head, ack_id), <bytes>_encode(values))
        else:
            self._reply(ack_id, values)

    def _emit(self, event, args, callback):
        """Send what is not plain, or cannot be sent: the subclass's."""
        raise NotImplementedError

    def _receive_event(self, event, args, ack_id, n_bytes):
        """Take an event that is not handled at once: the subclass's."""
        raise NotImplementedError

    def _await_result(self, handler, result, ack_id, n_bytes):
        """Await what a plain function has returned: the subclass's."""
        raise NotImplementedError

    def _reply(self, ack_id, values):
        """Acknowledge with values that are not plain, or cannot be sent: the subclass's."""
        raise NotImplementedError
