# cython: language_level=3, auto_pickle=False
# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""The compiled twin of `messages.py`, which is its specification and says what everything here means."""

from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_Substring

from telex.websocket._frames cimport Keys, write_text

from telex.engineio.packets import MESSAGE_TEXT, Packet

cdef extern from *:
    object _vectorcall_method "PyObject_VectorcallMethod"(PyObject *name, PyObject **args, size_t n, PyObject *kwnames)
    Py_UCS4 PyUnicode_READ_CHAR(object text, Py_ssize_t index) nogil
    Py_ssize_t PyUnicode_GET_LENGTH(object text) nogil
    int PyUnicode_READY(object text) except -1

__all__ = ["MessageReceiver", "MessageSender"]

cdef str _message_received = "message_received"
cdef Py_UCS4 _TYPE = MESSAGE_TEXT


cdef class MessageReceiver:
    """Receive as a transport; see `messages.MessageReceiver`."""

    cdef public object direct
    cdef public object plain
    cdef public Keys keys

    def message_received(self, message):
        """Take one WebSocket message."""
        cdef PyObject *args[2]
        direct = self.direct  # held, for the call may change it
        if direct is not None:
            data = None
            if type(message) is bytes:
                data = message
            elif type(message) is str:
                PyUnicode_READY(message)
                if PyUnicode_GET_LENGTH(message) and PyUnicode_READ_CHAR(message, 0) == _TYPE:
                    data = PyUnicode_Substring(message, 1, PyUnicode_GET_LENGTH(message))
            if data is not None:
                args[0], args[1] = <PyObject *>direct, <PyObject *>data
                _vectorcall_method(<PyObject *>_message_received, args, 2, NULL)
                return
        self._receive(message)

    def _receive(self, message):
        """Take what does not simply pass: the subclass's."""
        raise NotImplementedError


cdef class MessageSender:
    """Send as a session; see `messages.MessageSender`."""

    cdef public bint is_clear
    cdef public object transport
    cdef public Py_ssize_t high_mark

    def send_text(self, bytes head not None, bytes body not None):
        """Send one message of text, given in two parts of UTF-8; see `messages.MessageSender.send_text`."""
        cdef Py_ssize_t buffered
        cdef MessageReceiver receiver
        cdef Keys keys = None
        stream, transport = None, self.transport
        if self.is_clear:
            if isinstance(transport, MessageReceiver):
                receiver = <MessageReceiver>transport
                stream, keys = receiver.plain, receiver.keys
            else:
                stream = transport.plain
                if stream is not None:
                    keys = transport.keys
        if stream is None:
            self.send((Packet((head + body).decode()),))
            return
        buffered = write_text(stream, head, body, keys)
        if buffered > self.high_mark:
            self._begin_lag(buffered)

    def send(self, packets):
        """Send packets (see `Session.send`): the subclass's."""
        raise NotImplementedError

    def _begin_lag(self, buffered):
        """Note that the peer has no room: the subclass's."""
        raise NotImplementedError
