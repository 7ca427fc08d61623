# cython: language_level=3, auto_pickle=False
"""The compiled twin of `pools.py`, which is its specification and says what everything here means."""

from cpython.dict cimport PyDict_GetItemWithError
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF

from asyncio import CancelledError, current_task, get_running_loop
from asyncio.tasks import _enter_task, _leave_task

from telex.native import current_tasks
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
    ctypedef struct PyTupleObject:
        PyObject *ob_item[1]
    object _vectorcall "PyObject_Vectorcall"(PyObject *function, PyObject **args, size_t n, PyObject *kwnames)

__all__ = ["Pool", "Stepper"]


cdef dict _current_tasks = current_tasks()


cdef inline object enter(loop, task):
    """Make a task the current one; return the one that was, or None."""
    cdef PyObject *found
    if _current_tasks is None:
        interrupted = current_task(loop)
        if interrupted is not None:
            _leave_task(loop, interrupted)
        _enter_task(loop, task)
        return interrupted
    found = PyDict_GetItemWithError(_current_tasks, loop)
    interrupted = None if found is NULL else <object>found
    _current_tasks[loop] = task
    return interrupted


cdef inline int leave(loop, task, interrupted) except -1:
    """Make the task that was the current one again."""
    if _current_tasks is None:
        _leave_task(loop, task)
        if interrupted is not None:
            _enter_task(loop, interrupted)
    elif interrupted is None:
        del _current_tasks[loop]
    else:
        _current_tasks[loop] = interrupted
    return 0


cdef class Pool:
    """Lend the runners of one event loop; see `pools.Pool`."""

    def __init__(self):
        self.parked = []

    def step(self, coroutine):
        """Run a coroutine to its end or to its first suspension; see `pools.Pool.step`."""
        return self.begin(get_running_loop(), coroutine)

    cdef begin(self, loop, coroutine):
        cdef PyObject *found = NULL
        cdef PySendResult outcome = PYGEN_ERROR
        runner = self.parked.pop() if self.parked else Runner(loop, self.parked)
        task, context = runner.task, PyContext_CopyCurrent()
        interrupted = enter(loop, task)  # whose turn it is again afterwards
        try:
            PyContext_Enter(context)
            try:
                outcome = PyIter_Send(coroutine, None, &found)
                if outcome == PYGEN_ERROR:
                    _raise()
            finally:
                PyContext_Exit(context)
        finally:
            leave(loop, task, interrupted)
            if outcome != PYGEN_NEXT and not task.cancelling():  # else it ends when it wakes
                self.parked.append(runner)
        result = <object>found
        Py_XDECREF(found)
        return result if outcome == PYGEN_RETURN else Suspended(runner, coroutine, result, context)


cdef tuple as_tuple(PyObject **items, Py_ssize_t n_items):
    """Return arguments as a program has them."""
    cdef Py_ssize_t i
    return tuple([<object>items[i] for i in range(n_items)])


cdef int _raise() except -1:
    """Raise what is set."""
    return -1


cdef class Stepper:
    """Begin the coroutine handlers of one socket; see `pools.Stepper`."""

    @property
    def is_free(self):
        """Whether an event would be handled at once."""
        return not (self.is_working or self.is_shut)

    def step(self, handler, tuple args not None, ack_id, Py_ssize_t n_bytes):
        """Begin a coroutine function's call for an event; see `pools.Stepper.step`."""
        self.begin(get_running_loop(), handler, (<PyTupleObject *>args).ob_item, len(args), ack_id, n_bytes)

    cdef int begin(
        self, loop, handler, PyObject **given, Py_ssize_t n_given, ack_id, Py_ssize_t n_bytes
    ) except -1:
        self.is_working = True  # an event that comes meanwhile waits
        try:
            function = handler.function
            result = self._pool.begin(loop, _vectorcall(<PyObject *>function, given, n_given, NULL))
            if type(result) is Suspended:
                self._suspend(handler, as_tuple(given, n_given), ack_id, n_bytes, result)
                return 0
            if ack_id is not None:
                self._customer.reply(ack_id, result)
        except (Exception, CancelledError) as error:
            self._fail(handler, as_tuple(given, n_given), error)
        self.is_working = False
        if self._queue:
            self._go_on()
        return 0

    def _suspend(self, handler, args, ack_id, n_bytes, suspended):
        """Have the rest of a call done by its runner: the subclass's."""
        raise NotImplementedError

    def _go_on(self):
        """Do what waits: the subclass's."""
        raise NotImplementedError

    def _fail(self, handler, args, error):
        """Take note of what a handler raised: the subclass's."""
        raise NotImplementedError
