"""What the compiled modules of this floor share of `_pools.pyx`."""

from cpython.object cimport PyObject


cdef class Pool:
    cdef readonly list parked

    cdef begin(self, loop, coroutine)


cdef class Stepper:
    cdef public bint is_working
    cdef public bint is_shut
    cdef public object _customer
    cdef public Pool _pool
    cdef public object _queue

    cdef int begin(
        self, loop, handler, PyObject **given, Py_ssize_t n_given, ack_id, Py_ssize_t n_bytes
    ) except -1
