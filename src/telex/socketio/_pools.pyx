# cython: language_level=3, auto_pickle=False
"""The compiled twin of `pools.py`, which is its specification and says what everything here means."""

from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF

from asyncio import CancelledError, current_task, get_running_loop
from asyncio.tasks import _enter_task, _leave_task

from telex.socketio.runners import Runner, Suspended

cdef extern from *:
    object PyContext_CopyCurrent()
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1
    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
        PYGEN_NEXT
    PySendResult PyIter_Send(object coroutine, object value, PyObject **result)
    object PyObject_Call(object function, object args, PyObject *kwargs)

__all__ = ["Pool", "Stepper"]


cdef class Pool:
    """Lend the runners of one event loop; see `pools.Pool`."""

    cdef readonly list parked

    def __init__(self):
        self.parked = []

    cpdef step(self, coroutine):
        """Run a coroutine to its end or to its first suspension; see `pools.Pool.step`."""
        cdef PyObject *found = NULL
        cdef PySendResult outcome = PYGEN_ERROR
        loop = get_running_loop()
        runner = self.parked.pop() if self.parked else Runner(loop, self.parked)
        task, context = runner.task, PyContext_CopyCurrent()
        interrupted = current_task(loop)
        if interrupted is not None:  # whose turn it is again afterwards
            _leave_task(loop, interrupted)
        _enter_task(loop, task)
        try:
            PyContext_Enter(context)
            try:
                outcome = PyIter_Send(coroutine, None, &found)
                if outcome == PYGEN_ERROR:
                    _raise()
            finally:
                PyContext_Exit(context)
        finally:
            _leave_task(loop, task)
            if interrupted is not None:
                _enter_task(loop, interrupted)
            if outcome != PYGEN_NEXT and not task.cancelling():  # else it ends when it wakes
                self.parked.append(runner)
        result = <object>found
        Py_XDECREF(found)
        return result if outcome == PYGEN_RETURN else Suspended(runner, coroutine, result, context)


cdef int _raise() except -1:
    """Raise what is set."""
    return -1


cdef class Stepper:
    """Begin the coroutine handlers of one socket; see `pools.Stepper`."""

    cdef public bint is_working
    cdef public bint is_shut
    cdef public object _customer
    cdef public Pool _pool
    cdef public object _queue

    @property
    def is_free(self):
        """Whether an event would be handled at once."""
        return not (self.is_working or self.is_shut)

    def step(self, handler, tuple args not None, ack_id, n_bytes):
        """Begin a coroutine function's call for an event; see `pools.Stepper.step`."""
        self.is_working = True  # an event that comes meanwhile waits
        try:
            result = self._pool.step(PyObject_Call(handler.function, args, NULL))
            if type(result) is Suspended:
                self._suspend(handler, args, ack_id, n_bytes, result)
                return
            if ack_id is not None:
                self._customer.reply(ack_id, result)
        except (Exception, CancelledError) as error:
            self._fail(handler, args, error)
        self.is_working = False
        if self._queue:
            self._go_on()

    def _suspend(self, handler, args, ack_id, n_bytes, suspended):
        """Have the rest of a call done by its runner: the subclass's."""
        raise NotImplementedError

    def _go_on(self):
        """Do what waits: the subclass's."""
        raise NotImplementedError

    def _fail(self, handler, args, error):
        """Take note of what a handler raised: the subclass's."""
        raise NotImplementedError
