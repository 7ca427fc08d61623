# cython: language_level=3, auto_pickle=False
"""The compiled twin of `pools.py`, which is its specification and says what everything here means."""

from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF

from asyncio import current_task, get_running_loop
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

__all__ = ["Pool"]


cdef class Pool:
    """Lend the runners of one event loop; see `pools.Pool`."""

    cdef readonly list parked

    def __init__(self):
        self.parked = []

    def step(self, coroutine):
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
