# cython: language_level=3, auto_pickle=False
"""The compiled twin of `handover.py`, which is its specification and says what everything here means."""

from cpython.dict cimport PyDict_GetItemWithError
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF

cimport cython

from asyncio import CancelledError, current_task, get_running_loop

from telex.native import current_tasks
from collections import deque

cdef extern from *:
    """
    /* `await` asks an object of this type by a call of this, and not by an iterator's: so a result is no exception. */
    static void telex_set_send(PyTypeObject *type, sendfunc send) {
        type->tp_as_async->am_send = send;
        PyType_Modified(type);
    }
    """
    ctypedef struct PyTypeObject:
        pass
    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
        PYGEN_NEXT
    ctypedef PySendResult (*sendfunc)(PyObject *object, PyObject *value, PyObject **result) except PYGEN_ERROR
    void telex_set_send(PyTypeObject *type, sendfunc send)
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1

__all__ = ["Acted", "Handover"]

cdef dict _current_tasks = current_tasks()


cdef inline object _current_task(object loop):
    cdef PyObject *found
    if _current_tasks is None:
        return current_task(loop)
    found = PyDict_GetItemWithError(_current_tasks, loop)
    return None if found is NULL else <object>found



cdef class Handover:
    """Hand messages to one task; see `handover.Handover`."""

    cdef public object _loop
    cdef public object _wakeup
    cdef public object _context
    cdef public object _handed
    cdef public object _reader
    cdef public object messages
    cdef public Py_ssize_t n_received
    cdef public bint _asyncio_future_blocking
    cdef public bint _is_cancelled
    cdef public bint is_busy
    cdef public bint is_ended

    def __init__(self):
        self._loop = get_running_loop()
        self.messages = deque()

    def message_received(self, message):
        """Take a message (see `Events`)."""
        wakeup, context = self._wakeup, self._context
        if wakeup is not None and context is not None and _current_task(self._loop) is None:
            self.n_received += 1
            self._handed, self._wakeup, self._context = message, None, None
            PyContext_Enter(context)
            try:
                wakeup(self)
            finally:
                PyContext_Exit(context)
        else:
            self._keep(message)

    def wake(self):
        """Let the task that waits go on, in the next turn."""
        wakeup, context = self._wakeup, self._context
        self._wakeup = self._context = None
        if wakeup is not None:
            self._loop.call_soon(wakeup, self, context=context)

    def take(self, bint is_iterating=False):
        """Return the next message, to be awaited; see `handover.Handover.take`."""
        cdef Taking taking = Taking.__new__(Taking)
        taking._of, taking._is_iterating = self, is_iterating
        return taking

    def __aiter__(self):
        return self

    def __anext__(self):
        """Return the next message; end quietly where the peer is done (1000, 1001 or no code)."""
        cdef Taking taking = Taking.__new__(Taking)
        taking._of, taking._is_iterating = self, True
        return taking

    # What a task asks of what it waits for.

    def get_loop(self):
        """Return the loop that it belongs to."""
        return self._loop

    def add_done_callback(self, callback, *, context=None):
        """Take note of what steps the task."""
        self._wakeup, self._context = callback, context

    def cancel(self, msg=None):
        """Wake the task, which is to be cancelled; see `handover.Handover.cancel`."""
        if self._wakeup is None:
            return False
        self._is_cancelled = True
        self.wake()
        return True

    def result(self):
        """Let the task go on, or raise its cancellation."""
        if self._is_cancelled:
            self._is_cancelled = False
            raise CancelledError

    # What the subclass does.

    def _keep(self, message):
        """Take a message that cannot be handed over now."""
        raise NotImplementedError

    def _first(self):
        """Return the first of the messages that wait, which are one less then."""
        raise NotImplementedError

    def _put_back(self, message):
        """Let a message wait, before all others, that was handed over in vain."""
        raise NotImplementedError

    def _end_of(self, is_iterating):
        """Return what tells the program that no more comes, the end having taken effect."""
        raise NotImplementedError


@cython.final
@cython.freelist(64)
cdef class Taking:
    """Be what `take` is in the twin, a generator: awaited once, it yields the handover while there is no message."""

    cdef Handover _of
    cdef bint _is_iterating
    cdef bint _is_waiting

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        """Go on, where somebody traces; else `await` asks `_send`."""
        cdef PyObject *found = NULL
        cdef PySendResult outcome = self.go_on(&found)
        result = <object>found
        Py_XDECREF(found)
        if outcome == PYGEN_RETURN:
            raise StopIteration(result)
        return result

    def send(self, value):
        """Go on."""
        return self.__next__()

    def throw(self, kind, value=None, traceback=None):
        """Raise this where it waits: there it loses nothing."""
        self.close()
        if value is None:
            value = kind() if isinstance(kind, type) else kind
        elif not isinstance(value, BaseException):
            value = kind(value)
        raise value if traceback is None else value.with_traceback(traceback)

    def close(self):
        """Wait no longer."""
        if self._is_waiting:
            handed = self.come_back()
            if handed is not None:  # it was for nothing
                self._of._put_back(handed)

    cdef object come_back(self):
        """Return the message for which the task is stepped; None where it was woken for another reason."""
        cdef Handover of = self._of
        self._is_waiting = False
        handed, of._handed = of._handed, None
        of._wakeup = of._context = None
        return handed

    cdef PySendResult go_on(self, PyObject **result) except PYGEN_ERROR:
        cdef Handover of = self._of
        message = None
        if self._is_waiting:
            message = self.come_back()
        else:
            of._reader = _current_task(of._loop)
        if message is None:
            if not of.messages:
                of.is_busy = False
                if of.is_ended:
                    raise of._end_of(self._is_iterating)
                if of._wakeup is not None:
                    raise RuntimeError("another task waits in recv() already")
                of._asyncio_future_blocking = self._is_waiting = True
                Py_INCREF(of)
                result[0] = <PyObject *>of
                return PYGEN_NEXT
            message = of._first()
        of.is_busy = True
        Py_INCREF(message)
        result[0] = <PyObject *>message
        return PYGEN_RETURN


cdef PySendResult _send(PyObject *taking, PyObject *value, PyObject **result) except PYGEN_ERROR:
    return (<Taking>taking).go_on(result)


telex_set_send(<PyTypeObject *>Taking, _send)


cdef class Acted:
    """Be what a call returns that has acted already; see `handover.Acted`."""

    cdef object _wait

    def __init__(self, wait):
        self._wait = wait

    def __await__(self):
        return _nothing_to_wait_for if self._wait is None else self._wait()


cdef object _nothing_to_wait_for = iter(())
