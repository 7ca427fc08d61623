"""What the compiled modules above may call without asking the interpreter."""

cpdef Py_ssize_t write_text(object stream, bytes head, bytes body) except -1
