"""What the compiled modules above may call without asking the interpreter."""


cdef class Keys:
    cdef object _token
    cdef bytes _page  # what was fetched last, or None
    cdef Py_ssize_t _pos  # how much of it was handed out

    cdef int put(self, unsigned char *key) except -1


cpdef Py_ssize_t write_text(object stream, bytes head, bytes body, Keys keys=*) except -1
