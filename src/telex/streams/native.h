/* What the compiled halves of two floors say to each other.
 *
 * The stream loop (`_epoll`) offers this table as the capsule `telex.streams._epoll.api`; whoever stands above
 * looks it up when it is imported, and does without where there is none. So neither needs the other to be built.
 */
#ifndef TELEX_STREAMS_NATIVE_H
#define TELEX_STREAMS_NATIVE_H

#include <Python.h>

#define TELEX_STREAMS_API "telex.streams._epoll.api"

/* Take bytes where they lie, in the loop's shared buffer: return how many were used, or -1 with an exception set.
 * The bytes may be changed in place but are borrowed until return. What is left goes to the sink's data_received. */
typedef Py_ssize_t (*telex_receive)(PyObject *receiver, unsigned char *data, Py_ssize_t size);

typedef struct {
    PyTypeObject *stream_type;  /* the exact type of the streams that the calls below take */
    int (*write)(PyObject *stream, PyObject *data);  /* `Stream.write`; 0, or -1 with an exception set */
    Py_ssize_t (*buffered_bytes)(PyObject *stream);  /* `Stream.buffered_bytes` */
    /* Write without an object in between: where so many bytes are to be put, at once and all of them; or NULL, and
     * nothing is changed, where that cannot be and `write` must do. Only while the stream's own input is handled. */
    unsigned char *(*reserve)(PyObject *stream, Py_ssize_t size);
    void (*attach)(PyObject *stream, PyObject *receiver, telex_receive receive);  /* keeps a reference; NULL detaches */
} telex_streams;

#endif
