# cython: language_level=3
# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The nested epoll: a loop of streams inside the event loop.

Rule of this module: bytes, descriptors and nothing else; it knows no protocol and judges no peer. It does what
`streams/asyncio.py` does, which is its specification, for plain sockets on Linux.

Theory of operation. An event loop's transports cost as much per message as the work itself. So the streams of one
event loop live in one epoll set of their own, and the *set's* descriptor is what the event loop watches: one callback
per turn then drains every stream that is ready. `Poll` is that set. It works on any loop that has `add_reader`.

- When a batch is done, `Poll` waits in the event loop's place, where that would do nothing but wait: on the loop's own
  set, which ours is a descriptor of. Are streams alone ready then, they are served with no turn of the loop between;
  all else is the loop's, and comes up there again. That is for asyncio's own loop, whose private parts say what it is
  about to do; on every other loop each batch is a turn.
- All streams read into one buffer, so an idle stream owns no memory but its record. A receiver that is compiled too
  takes the bytes where they lie (`native.h`); everybody else is handed a `bytes` of them.
- Writes are corked. What is written to a stream while its input is handled leaves in one `send` when that is done, and
  a compiled floor above lays it out right there, in the buffer that is sent;
  what others write to it leaves when the batch is done; what is written outside of a batch, at the end of the turn.
- Only what the kernel refuses stays, and only then is the descriptor watched for writing.
- A stream reads once per turn, as much as the buffer holds; epoll is level-triggered, so the rest comes up again after
  everybody else.
- `Poll` owns its streams while they are open, and finds them by descriptor: an event for a stream that was closed a
  moment ago finds nobody. `connection_lost` is told when a batch or turn is done and never inside a call.
- A loop that shuts down (`asyncio.run`, uvicorn) closes its asynchronous generators. `Poll` keeps one to learn of it,
  and ends its streams while the loop still runs. A loop that is closed without leaves them open.

Source: epoll(7), tcp(7).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_New
from cpython.ref cimport Py_CLEAR, Py_DECREF, Py_INCREF, Py_XDECREF
from libc.math cimport ceil
from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset, strerror

import asyncio
import logging
import os
import selectors
import socket as socket_module
import weakref
from asyncio.trsock import TransportSocket

from telex.streams.drivers import USER_TIMEOUT_SECONDS
from telex.streams.fairness import turn_of

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    enum:
        EPOLLIN
        EPOLLOUT
        EPOLLERR
        EPOLLHUP
        EPOLL_CTL_ADD
        EPOLL_CTL_DEL
        EPOLL_CTL_MOD
        EPOLL_CLOEXEC
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event)
    int epoll_wait(int epfd, epoll_event *events, int maxevents, int timeout)

cdef extern from "sys/socket.h" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        uint16_t sa_family
    enum:
        AF_INET
        AF_INET6
        MSG_NOSIGNAL
        MSG_DONTWAIT
        SOCK_CLOEXEC
        SOCK_NONBLOCK
        SHUT_WR
    ssize_t recv(int fd, void *buf, size_t n, int flags)
    ssize_t send(int fd, const void *buf, size_t n, int flags)
    int shutdown(int fd, int how)
    int accept4(int fd, sockaddr *addr, socklen_t *size, int flags)
    int getpeername(int fd, sockaddr *addr, socklen_t *size)
    int getsockname(int fd, sockaddr *addr, socklen_t *size)
    int setsockopt(int fd, int level, int name, const void *value, socklen_t size)

cdef extern from "netinet/in.h" nogil:
    enum:
        IPPROTO_TCP
    struct sockaddr_in6:
        uint16_t sin6_family

cdef extern from "netinet/tcp.h" nogil:
    enum:
        TCP_NODELAY
        TCP_USER_TIMEOUT

cdef extern from "fcntl.h" nogil:
    enum:
        F_GETFL
        F_SETFL
        O_NONBLOCK
    int fcntl(int fd, int cmd, ...)

cdef extern from "sys/ioctl.h" nogil:
    enum:
        TIOCOUTQ
    int ioctl(int fd, unsigned long request, ...)

cdef extern from "time.h" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    enum:
        CLOCK_MONOTONIC  # which is what asyncio's loop goes by
    int clock_gettime(int clock, timespec *now)

cdef extern from "unistd.h" nogil:
    int c_close "close"(int fd)

cdef extern from "native.h":
    ctypedef Py_ssize_t (*telex_receive)(PyObject *receiver, unsigned char *data, Py_ssize_t size) except? -1
    ctypedef struct PyTypeObject:
        pass
    ctypedef struct telex_streams:
        PyTypeObject *stream_type
        int (*write)(PyObject *stream, PyObject *data) except -1
        Py_ssize_t (*buffered_bytes)(PyObject *stream) noexcept
        unsigned char *(*reserve)(PyObject *stream, Py_ssize_t size) noexcept
        void (*attach)(PyObject *stream, PyObject *receiver, telex_receive receive) noexcept
    const char *TELEX_STREAMS_API

__all__ = ["EpollStream", "Listening", "Poll", "poll_of"]

logger = logging.getLogger("telex.streams")

cdef enum:
    MAX_EVENTS = 256
    # Descriptors told of by one `epoll_wait`: enough that the turn's own cost vanishes; more wait for the next.
    READ_BYTES = 256 * 1024
    # The shared buffer, and so what one stream may read in a turn: `fairness.BYTES_PER_TURN`, which is asyncio's too.
    GATHER_BYTES = 64 * 1024
    # Output up to this size is copied together for one `send`: cheaper than a vector for many small pieces.
    MAX_ACCEPTS = 64
    # Connections accepted in a row: about a millisecond with their handshakes.
    ADDRESS_BYTES = 28
    # An IPv6 socket address; those of Unix sockets are asked for while the stream is open.

MAX_WAIT_SECONDS = 24 * 3600.0
"""For how long nothing but streams is looked at, if nothing happens at all; asyncio has the same bound."""

ACCEPT_BACKOFF_SECONDS = 1.0
"""How long accepting rests when descriptors or memory have run out; else the loop would spin. As asyncio's."""

cdef enum State:
    OPEN  # reading and writing
    LINGERING  # nothing more is written; what still comes is dropped
    CLOSING  # connection_lost is about to be called
    LOST  # connection_lost was called


cdef class Poll:
    """Drive the streams of one event loop. Made by `poll_of`."""

    cdef object __weakref__
    cdef object _loop  # a weak reference: the loop's own table holds this object
    cdef object _shutdown  # the generator that hears of the loop's end
    cdef int _epfd
    cdef int _loop_epfd  # the event loop's own set, where we may wait in its place; else -1
    cdef object _callbacks  # the event loop's queue of them
    cdef bint _is_in_batch
    cdef bint _is_scheduled  # `settle` at the end of this turn
    cdef PyObject **_by_fd  # owned: who has this descriptor in the set, or NULL
    cdef Py_ssize_t _n_fds
    cdef Py_ssize_t _n_streams
    cdef unsigned char *_input
    cdef unsigned char *_output  # of the active stream: written to it while its input is handled
    cdef Py_ssize_t _n_output
    cdef PyObject *_active  # borrowed: whose input is being handled
    cdef unsigned char *_gathered
    cdef list _dirty  # streams with something to flush
    cdef list _doomed  # streams with an end to be told, and the error or None

    def __cinit__(self):
        self._epfd = self._loop_epfd = -1
        self._dirty = []
        self._doomed = []
        self._input = <unsigned char *>PyMem_Malloc(READ_BYTES)
        self._output = <unsigned char *>PyMem_Malloc(GATHER_BYTES)
        self._gathered = <unsigned char *>PyMem_Malloc(GATHER_BYTES)
        if self._input is NULL or self._output is NULL or self._gathered is NULL:
            raise MemoryError

    def __init__(self, loop):
        """Make a set and have `loop` watch it. Raises `NotImplementedError` where the loop cannot watch descriptors."""
        self._loop = weakref.ref(loop)
        self._epfd = epoll_create1(EPOLL_CLOEXEC)
        if self._epfd < 0:
            raise _os_error()
        loop.add_reader(self._epfd, self._ready)
        if type(loop) is asyncio.SelectorEventLoop and type(loop._selector) is selectors.EpollSelector:
            self._loop_epfd, self._callbacks = loop._selector.fileno(), loop._ready
        self._shutdown = _wait_for_shutdown(weakref.ref(self))
        try:
            self._shutdown.__anext__().send(None)  # runs to its first yield, under the loop's hooks
        except StopIteration:
            pass

    def __dealloc__(self):
        if self._epfd >= 0:
            c_close(self._epfd)
        PyMem_Free(self._by_fd)
        PyMem_Free(self._input)
        PyMem_Free(self._output)
        PyMem_Free(self._gathered)

    def __len__(self):
        """Return how many streams are open."""
        return self._n_streams

    @property
    def is_closed(self):
        """Whether the loop has shut down."""
        return self._epfd < 0

    def adopt(self, int fd, sink, *, Py_ssize_t high_mark):
        """Make a connected socket's descriptor a stream; `sink` hears of it from now on.

        It is made non-blocking. **Ownership**: the stream closes it; where this raises, the caller still has it.
        Raises `OSError` where it cannot be watched.
        """
        return _adopt(self, fd, sink, high_mark)

    def listen(self, int fd, accepted):
        """Call `accepted` with the descriptor of each connection that comes to a listening socket, which is the
        caller's: it must make it a stream, or close it. Returns a `Listening`, to be closed before the socket.
        """
        listening = Listening(self, fd, accepted)
        listening.resume()
        return listening

    def close(self):
        """End every stream; each is told. For the loop's end: nothing can be adopted afterwards. Idempotent."""
        cdef Py_ssize_t fd
        if self._epfd < 0:
            return
        for fd in range(self._n_fds):
            if self._by_fd[fd] is not NULL:
                (<_Descriptor>self._by_fd[fd]).end()
        self.settle()
        loop = self._loop()
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self._epfd)
        c_close(self._epfd)
        self._epfd = -1
        self._shutdown = None

    # Who is in the set

    cdef int put(self, int fd, _Descriptor owner, uint32_t events) except -1:
        """Watch a descriptor for the first time."""
        cdef Py_ssize_t n
        cdef PyObject **table
        if self._epfd < 0:
            raise RuntimeError("the event loop has shut down")
        if fd >= self._n_fds:
            n = max(64, 2 * fd)
            table = <PyObject **>PyMem_Realloc(self._by_fd, n * sizeof(PyObject *))
            if table is NULL:
                raise MemoryError
            memset(table + self._n_fds, 0, (n - self._n_fds) * sizeof(PyObject *))
            self._by_fd, self._n_fds = table, n
        if events:
            self.watch(EPOLL_CTL_ADD, fd, events)
        Py_INCREF(owner)
        self._by_fd[fd] = <PyObject *>owner
        return 0

    cdef int watch(self, int op, int fd, uint32_t events) except -1:
        cdef epoll_event event
        event.events = events
        event.data.fd = fd
        if epoll_ctl(self._epfd, op, fd, &event) < 0 and op != EPOLL_CTL_DEL:
            raise _os_error()
        return 0

    cdef int take_out(self, int fd) except -1:
        """Forget who had a descriptor."""
        cdef PyObject *owner = self._by_fd[fd]
        self._by_fd[fd] = NULL
        Py_DECREF(<object>owner)
        return 0

    # A turn

    def _ready(self):
        """Serve whoever is ready, as long as there is nothing else to do: what the event loop calls."""
        self.serve()
        while self.stay():
            self.serve()

    cdef bint stay(self) except -1:
        """Wait in the event loop's place, if it would do nothing but wait; tell whether streams alone are ready then.

        What the loop would look at is looked at here: its callbacks, its timers and its own epoll set, where ours is
        one descriptor among others. Whatever else comes, be it a signal, is left for it, and comes up there again.
        """
        cdef epoll_event events[2]
        cdef timespec now
        cdef double seconds
        cdef int n, milliseconds = -1
        PyErr_CheckSignals()  # their handlers run now, for the interpreter does not look before it waits
        if self._loop_epfd < 0 or self._epfd < 0 or self._callbacks:
            return False
        loop = self._loop()
        if loop is None or loop._stopping or loop._debug:
            return False
        timers = loop._scheduled
        if timers:
            clock_gettime(CLOCK_MONOTONIC, &now)
            seconds = <double>timers[0]._when - (now.tv_sec + now.tv_nsec * 1e-9)
            if seconds <= 0:
                return False
            milliseconds = <int>ceil(min(seconds, <double>MAX_WAIT_SECONDS) * 1000)
        with nogil:
            n = epoll_wait(self._loop_epfd, events, 2, milliseconds)
        return n == 1 and events[0].data.fd == self._epfd

    cdef int serve(self) except -1:
        """Serve whoever is ready now, once."""
        cdef epoll_event events[MAX_EVENTS]
        cdef int i, fd, n
        cdef PyObject *owner
        cdef _Descriptor descriptor
        n = epoll_wait(self._epfd, events, MAX_EVENTS, 0)
        self._is_in_batch = True
        try:
            for i in range(n):
                fd = events[i].data.fd
                owner = self._by_fd[fd]
                if owner is not NULL:
                    descriptor = <_Descriptor>owner
                    descriptor.on_ready(events[i].events)
        finally:
            self._is_in_batch = False
            if self._dirty or self._doomed:
                self.settle()
        return 0

    cdef int mark(self, list queue, item) except -1:
        """Have something settled when the batch is done, or at the end of this turn."""
        queue.append(item)
        if not self._is_in_batch:
            self.schedule()
        return 0

    cdef int schedule(self) except -1:
        if not self._is_scheduled:
            loop = self._loop()
            if loop is not None and not loop.is_closed():
                self._is_scheduled = True
                turn_of(loop).flush(self._settle_turn)
        return 0

    def _settle_turn(self):
        self._is_scheduled = False
        self.settle()

    cdef int settle(self) except -1:
        """Flush, and tell ends. What that causes in turn is for the next turn: nothing here can go on for ever."""
        cdef list dirty, doomed
        cdef EpollStream stream
        dirty, self._dirty = self._dirty, []
        doomed, self._doomed = self._doomed, []
        try:
            while dirty:
                stream = <EpollStream>dirty.pop()
                stream._is_dirty = False
                if not stream._is_handling:
                    stream.flush()
            if self._doomed:  # what flushing has found out
                doomed += self._doomed
                self._doomed = []
            doomed.reverse()
            while doomed:
                stream, error = doomed.pop()
                stream.die(error)
        finally:  # what ends the program may leave some
            self._dirty += dirty
            self._doomed += doomed
            if self._dirty or self._doomed:
                self.schedule()
        return 0

    cdef int report(self, str message, error) except -1:
        """Tell the loop what nobody caught."""
        loop = self._loop()
        if loop is not None:
            loop.call_exception_handler({"message": f"Telex: {message}", "exception": error})
        return 0


cdef class _Descriptor:
    """Be what a descriptor in the set belongs to."""

    cdef Poll _poll
    cdef int _fd

    cdef int on_ready(self, uint32_t events) except -1:
        return 0

    cdef int end(self) except -1:
        return 0


cdef class Listening(_Descriptor):
    """Accept connections until closed. Made by `Poll.listen`."""

    cdef object _accepted
    cdef bint _is_closed
    cdef bint _is_watched

    def __cinit__(self, Poll poll, int fd, accepted):
        self._poll = poll
        self._fd = fd
        self._accepted = accepted

    def resume(self):
        """Accept, after a rest."""
        if not self._is_closed and not self._is_watched and self._poll._epfd >= 0:
            self._poll.put(self._fd, self, EPOLLIN)
            self._is_watched = True

    def close(self):
        """Accept no more. Idempotent."""
        self._is_closed = True
        self._rest()

    cdef int end(self) except -1:
        self.close()
        return 0

    cdef int _rest(self) except -1:
        if self._is_watched:
            self._is_watched = False
            self._poll.watch(EPOLL_CTL_DEL, self._fd, 0)
            self._poll.take_out(self._fd)
        return 0

    cdef int on_ready(self, uint32_t events) except -1:
        cdef int i, fd
        for i in range(MAX_ACCEPTS):
            if self._is_closed:
                break
            fd = accept4(self._fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
            if fd >= 0:
                try:
                    self._accepted(fd)
                except Exception as error:
                    self._poll.report("a connection could not be accepted", error)
            elif errno == ECONNABORTED or errno == EINTR:
                continue
            elif errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM:
                error = _os_error()
                self._rest()
                logger.error("no connection is accepted for %g s: %s", ACCEPT_BACKOFF_SECONDS, error)
                loop = self._poll._loop()
                if loop is not None:
                    loop.call_later(ACCEPT_BACKOFF_SECONDS, self.resume)
                break
            else:
                break
        return 0


cdef class EpollStream(_Descriptor):
    """Implement `Stream` over a descriptor in a `Poll`. Made by `Poll.adopt`.

    `sink` may be replaced at any time, for example when an opening handshake is over.
    """

    cdef public object sink
    cdef PyObject *_receiver  # owned; takes input before the sink does
    cdef telex_receive _receive
    cdef object _cork  # what waits: None, one `bytes` or a list of them
    cdef Py_ssize_t _n_gone  # bytes of the first that have left
    cdef Py_ssize_t _buffered_bytes
    cdef Py_ssize_t _high_mark
    cdef int64_t _written_bytes
    cdef int64_t _received_bytes
    cdef uint8_t _peer[ADDRESS_BYTES]
    cdef uint8_t _state
    cdef uint8_t _events  # what it is watched for
    cdef uint8_t _is_handling  # the sink is at work, and we flush when it is done
    cdef uint8_t _is_dirty  # in the poll's list of those to be flushed
    cdef uint8_t _is_blocked  # the kernel takes no more for now
    cdef uint8_t _is_over  # the high mark was passed, and the sink has not been told of room since
    cdef uint8_t _is_reading
    cdef uint8_t _is_shut  # our end is sent
    cdef uint8_t _has_peer_ended

    def __init__(self):
        raise TypeError("a stream is made by Poll.adopt")

    def __dealloc__(self):
        Py_XDECREF(self._receiver)

    def __repr__(self):
        return f"<EpollStream {self._fd} with {self.get_extra_info('peername')}>"

    # What the poll calls

    cdef int on_ready(self, uint32_t events) except -1:
        # Who was served before in this batch may have paused or ended this stream.
        if events & (EPOLLIN | EPOLLERR | EPOLLHUP) and self._events & EPOLLIN:
            self._read()
        if events & (EPOLLOUT | EPOLLERR | EPOLLHUP) and self._is_blocked and self._state <= LINGERING:
            self._is_blocked = False
            self.flush()
        return 0

    cdef int _read(self) except -1:
        cdef Poll poll = self._poll
        cdef Py_ssize_t size, used = 0
        size = recv(self._fd, poll._input, READ_BYTES, 0)
        if size < 0:
            if errno != EAGAIN and errno != EINTR:
                self.doom(_os_error())
            return 0
        if size == 0:
            return self._read_end()
        if self._state != OPEN:
            return 0
        self._received_bytes += size
        self._is_handling = True
        if poll._active is not NULL:  # an event loop within the event loop
            (<EpollStream>poll._active)._spill()
        poll._active = <PyObject *>self
        try:
            if self._receiver is not NULL:
                receiver = <object>self._receiver  # it may be replaced meanwhile
                used = self._receive(<PyObject *>receiver, poll._input, size)
            if used < size and self._state == OPEN:
                self.sink.data_received(PyBytes_FromStringAndSize(<char *>poll._input + used, size - used))
        except (Exception, asyncio.CancelledError) as error:
            self._blame(error)
        finally:
            self._is_handling = False
            if poll._active is <PyObject *>self:
                poll._active = NULL
                size, poll._n_output = poll._n_output, 0
            else:
                size = 0
        if size:
            self._leave(size)
        elif self._cork is not None and not self._is_blocked:
            self.flush()
        return 0

    cdef int _leave(self, Py_ssize_t size) except -1:
        """Send what was laid out while the input was handled, so much of the poll's output."""
        cdef unsigned char *out = self._poll._output
        cdef Py_ssize_t sent = send(self._fd, out, size, MSG_NOSIGNAL | MSG_DONTWAIT)
        if sent < 0:
            sent = 0  # why, the next attempt will find out
        self._buffered_bytes -= sent
        if sent < size:
            self._cork = PyBytes_FromStringAndSize(<char *>out + sent, size - sent)
        if self._cork is not None or self._is_over:
            self.flush()
        return 0

    cdef int _spill(self) except -1:
        """Make what was laid out in the poll's output a piece of its own, for something is to be done about it."""
        cdef Poll poll = self._poll
        if poll._active is <PyObject *>self:
            poll._active = NULL
            if poll._n_output:
                self._cork = PyBytes_FromStringAndSize(<char *>poll._output, poll._n_output)
                poll._n_output = 0
        return 0

    cdef inline void _count(self, Py_ssize_t size) noexcept:
        """Note that so many bytes more are waiting."""
        self._buffered_bytes += size
        self._written_bytes += size
        if self._buffered_bytes > self._high_mark:
            self._is_over = True

    cdef int _read_end(self) except -1:
        self._has_peer_ended = True
        if self._state == LINGERING and self._is_shut:
            return self.doom(None)
        self._watch()
        if self._state == OPEN:
            self._is_handling = True
            try:
                self.sink.eof_received()
            except (Exception, asyncio.CancelledError) as error:
                self._blame(error)
            finally:
                self._is_handling = False
            self.flush()
        return 0

    cdef int _blame(self, error) except -1:
        """End a stream whose sink has failed: nobody knows what it has understood."""
        self._poll.report(f"the sink of {self!r} failed", error)
        return self.doom(error)

    cdef int flush(self) except -1:
        """Send what waits, as far as the kernel takes it."""
        cdef Py_ssize_t sent
        self._spill()
        if self._is_blocked or self._state > LINGERING:
            return 0
        while self._cork is not None:
            sent = self._send()
            if sent < 0:
                if errno == EINTR:
                    continue
                if errno != EAGAIN and errno != ENOBUFS:
                    return self.doom(_os_error())
                sent = 0
            self._drop(sent)
            if self._cork is not None and sent == 0:
                self._is_blocked = True
                break
        if self._is_blocked or self._events & EPOLLOUT:
            self._watch()
        if self._state == LINGERING and self._cork is None:
            self._shut()
        if self._is_over and self._buffered_bytes <= self._high_mark // 2 and self._state <= LINGERING:
            self._is_over = False
            try:
                self.sink.writing_resumed()
            except (Exception, asyncio.CancelledError) as error:
                self._blame(error)
        return 0

    cdef Py_ssize_t _send(self) except? -2:
        """Make one system call; return what it returned."""
        cdef Py_ssize_t size, length, skip = self._n_gone
        cdef unsigned char *out
        first = self._cork
        if type(first) is list:
            # Many small pieces go together, as many as fit; a large one goes by itself.
            out, size = self._poll._gathered, 0
            for piece in <list>self._cork:
                length = PyBytes_GET_SIZE(piece) - skip
                if size + length > GATHER_BYTES:
                    break
                memcpy(out + size, PyBytes_AS_STRING(piece) + skip, length)
                size += length
                skip = 0
            if size:
                return send(self._fd, out, size, MSG_NOSIGNAL | MSG_DONTWAIT)
            first = (<list>self._cork)[0]
        return send(
            self._fd, PyBytes_AS_STRING(first) + skip, PyBytes_GET_SIZE(first) - skip, MSG_NOSIGNAL | MSG_DONTWAIT
        )

    cdef int _drop(self, Py_ssize_t sent) except -1:
        """Let go of what the kernel has taken."""
        cdef Py_ssize_t n_whole = 0, left
        cdef list cork
        self._buffered_bytes -= sent
        if self._buffered_bytes == 0:
            self._cork, self._n_gone = None, 0
        elif type(self._cork) is bytes:
            self._n_gone += sent
        else:
            cork = <list>self._cork
            left = sent + self._n_gone
            for piece in cork:
                if left < PyBytes_GET_SIZE(piece):
                    break
                left -= PyBytes_GET_SIZE(piece)
                n_whole += 1
            if n_whole:
                del cork[:n_whole]
            self._n_gone = left
        return 0

    cdef int _shut(self) except -1:
        """Send our end, everything else having left."""
        if self._has_peer_ended:
            return self.doom(None)
        if not self._is_shut:
            self._is_shut = True
            if shutdown(self._fd, SHUT_WR) < 0:  # the peer has reset the connection
                return self.doom(None)
            self._watch()
        return 0

    cdef int _watch(self) except -1:
        """Be watched for what is of interest now; for nothing, where nothing is: a reset is then found by writing."""
        cdef uint8_t events = 0
        cdef int op
        if self._state > LINGERING:
            return 0
        if not self._has_peer_ended and (self._is_reading or self._state == LINGERING):
            events = EPOLLIN
        if self._is_blocked:
            events |= EPOLLOUT
        if events != self._events:
            op = EPOLL_CTL_DEL if not events else EPOLL_CTL_MOD if self._events else EPOLL_CTL_ADD
            self._poll.watch(op, self._fd, events)
            self._events = events
        return 0

    cdef int doom(self, error) except -1:
        """Drop what waits, and have the end told soon."""
        if self._state > LINGERING:
            return 0
        if self._events:
            self._poll.watch(EPOLL_CTL_DEL, self._fd, 0)
            self._events = 0
        self._spill()
        self._state = CLOSING
        self._written_bytes -= self._buffered_bytes
        self._buffered_bytes = self._n_gone = 0
        self._cork = None
        return self._poll.mark(self._poll._doomed, (self, error))

    cdef int end(self) except -1:
        return self.doom(None)

    cdef int die(self, error) except -1:
        """Close the descriptor and tell the end."""
        self._state = LOST
        Py_CLEAR(self._receiver)
        _shared_sockets_forget(self)
        c_close(self._fd)
        self._poll.take_out(self._fd)
        self._poll._n_streams -= 1
        try:
            self.sink.connection_lost(error)
        except (Exception, asyncio.CancelledError) as failure:
            self._poll.report(f"the sink of {self!r} failed", failure)
        return 0

    # What the floors above call

    @property
    def buffered_bytes(self):
        """Bytes written and not yet taken by the operating system."""
        return self._buffered_bytes

    @property
    def sent_bytes(self):
        """Bytes that the operating system has taken, all in all."""
        return self._written_bytes - self._buffered_bytes

    @property
    def received_bytes(self):
        """Bytes received, all in all."""
        return self._received_bytes

    @property
    def acknowledged_bytes(self):
        """Bytes that the peer has acknowledged; where that is not TCP, those sent. One system call."""
        cdef int queued = 0
        cdef int family = (<sockaddr *>self._peer).sa_family
        if (family != AF_INET and family != AF_INET6) or self._state == LOST or ioctl(self._fd, TIOCOUTQ, &queued) < 0:
            queued = 0
        return self._written_bytes - self._buffered_bytes - queued

    @property
    def is_closing(self):
        """Whether nothing more can be sent."""
        return self._state != OPEN

    cpdef int write(self, bytes data) except -1:
        """Cork bytes for this batch or turn."""
        cdef Py_ssize_t size
        if data is None:
            raise TypeError("a stream takes bytes, not None")
        size = PyBytes_GET_SIZE(data)
        if self._state != OPEN or size == 0:
            return 0
        if self._poll._active is <PyObject *>self:
            self._spill()
        if self._cork is None:
            self._cork = data
        elif type(self._cork) is list:
            (<list>self._cork).append(data)
        else:
            self._cork = [self._cork, data]
        self._count(size)
        if not self._is_handling and not self._is_dirty and not self._is_blocked:
            self._is_dirty = True
            self._poll.mark(self._poll._dirty, self)
        return 0

    def pause_reading(self):
        """Leave the peer's bytes in the socket."""
        if self._is_reading:
            self._is_reading = False
            self._watch()

    def resume_reading(self):
        """Read the socket again."""
        if not self._is_reading:
            self._is_reading = True
            self._watch()

    def close(self):
        """Flush, send the end, and linger until the peer's end (see `streams/asyncio.py`)."""
        if self._state != OPEN:
            return
        self._spill()
        self._state = LINGERING
        if self._cork is None:
            self._shut()
        else:
            self.flush()
        self._watch()

    def abort(self):
        """Cut the connection now."""
        self.doom(None)

    def detach(self):
        """Give the connection away: return its descriptor, which is the caller's from now on, and hear no more of it.

        The sink is told nothing. Raises `RuntimeError` where output waits or the stream is closing.
        """
        self._spill()
        if self._state != OPEN or self._cork is not None:
            raise RuntimeError("a stream that is closing, or holds output, cannot be detached")
        if self._events:
            self._poll.watch(EPOLL_CTL_DEL, self._fd, 0)
            self._events = 0
        self._state = LOST
        Py_CLEAR(self._receiver)
        _shared_sockets_forget(self)
        self._poll.take_out(self._fd)
        self._poll._n_streams -= 1
        return self._fd

    def get_extra_info(self, name, default=None):
        """Return `peername`, `sockname` or `socket`: the first also when the stream is lost."""
        if name == "peername":
            return _peer_address(self)
        if self._state != LOST:
            if name == "socket":
                return _shared_socket(self)
            if name == "sockname":
                return _own_address(self)
        return default


# Sockets that somebody asked for by `get_extra_info("socket")`: objects for the same connection, of a descriptor of
# their own, which go with the stream.
cdef dict _shared_sockets = {}


cdef object _shared_socket(EpollStream stream):
    found = _shared_sockets.get(stream._fd)
    if found is None:
        found = _shared_sockets[stream._fd] = socket_module.socket(fileno=os.dup(stream._fd))
    return TransportSocket(found)


cdef int _shared_sockets_forget(EpollStream stream) except -1:
    if _shared_sockets:
        found = _shared_sockets.pop(stream._fd, None)
        if found is not None:
            found.close()
    return 0


cdef object _ask(int fd, str question):
    """Have a socket object that closes nothing answer a question about a descriptor; None where it cannot."""
    borrowed = socket_module.socket(fileno=fd)
    try:
        return getattr(borrowed, question)()
    except OSError:
        return None
    finally:
        borrowed.detach()


cdef object _peer_address(EpollStream stream):
    """Return the peer's address, also when the stream is lost, but for one that was not kept."""
    found = _address(stream._peer)
    if found is None and stream._state != LOST:
        return _ask(stream._fd, "getpeername")
    return found


cdef object _own_address(EpollStream stream):
    cdef uint8_t own[ADDRESS_BYTES]
    cdef socklen_t size = ADDRESS_BYTES
    memset(own, 0, ADDRESS_BYTES)
    if getsockname(stream._fd, <sockaddr *>own, &size) < 0 or size > ADDRESS_BYTES:
        return _ask(stream._fd, "getsockname")
    found = _address(own)
    return _ask(stream._fd, "getsockname") if found is None else found


cdef object _address(const uint8_t *address):
    """Return a TCP address as the socket module would; None for any other."""
    cdef int family = (<const sockaddr *>address).sa_family
    cdef uint32_t scope
    cdef bytes packed
    if family == AF_INET:
        packed = PyBytes_FromStringAndSize(<const char *>address, 16)
        return socket_module.inet_ntop(AF_INET, packed[4:8]), int.from_bytes(packed[2:4], "big")
    if family == AF_INET6:
        packed = PyBytes_FromStringAndSize(<const char *>address, ADDRESS_BYTES)
        memcpy(&scope, address + 24, 4)
        return (
            socket_module.inet_ntop(AF_INET6, packed[8:24]),
            int.from_bytes(packed[2:4], "big"),
            int.from_bytes(packed[4:8], "big"),
            scope,
        )
    return None


cdef EpollStream _adopt(Poll poll, int fd, sink, Py_ssize_t high_mark):
    cdef EpollStream stream = EpollStream.__new__(EpollStream)
    cdef int one = 1, milliseconds = USER_TIMEOUT_SECONDS * 1000
    cdef int flags = fcntl(fd, F_GETFL)
    cdef socklen_t size = ADDRESS_BYTES
    if flags < 0 or (not flags & O_NONBLOCK and fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0):
        raise _os_error()
    # A Unix socket knows neither option, and an address that does not fit is not kept.
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, sizeof(milliseconds))
    if getpeername(fd, <sockaddr *>stream._peer, &size) < 0 or size > ADDRESS_BYTES:
        memset(stream._peer, 0, ADDRESS_BYTES)
    stream._poll = poll
    stream._fd = fd
    stream.sink = sink
    stream._high_mark = high_mark
    stream._is_reading = True
    poll.put(fd, stream, EPOLLIN)
    poll._n_streams += 1
    stream._events = EPOLLIN
    return stream


cdef object _os_error():
    cdef int number = errno
    return OSError(number, strerror(number).decode(errors="replace"))


async def _wait_for_shutdown(poll_reference):
    """Be closed by a loop that shuts down."""
    try:
        yield
    finally:
        poll = poll_reference()
        if poll is not None:
            poll.close()


_polls = weakref.WeakKeyDictionary()


def poll_of(loop):
    """Return the one `Poll` of the running loop. Raises `NotImplementedError` where it cannot watch descriptors."""
    poll = _polls.get(loop)
    if poll is None or poll.is_closed:
        poll = _polls[loop] = Poll(loop)
    return poll


# What compiled floors above may call (`native.h`).

cdef int _api_write(PyObject *stream, PyObject *data) except -1:
    return (<EpollStream>stream).write(<bytes>data)


cdef unsigned char *_api_reserve(PyObject *stream, Py_ssize_t size) noexcept:
    cdef EpollStream found = <EpollStream>stream
    cdef Poll poll = found._poll
    cdef unsigned char *place
    if (
        poll._active is not stream
        or found._state != OPEN
        or found._cork is not None
        or found._is_blocked
        or poll._n_output + size > GATHER_BYTES
    ):
        return NULL
    place = poll._output + poll._n_output
    poll._n_output += size
    found._count(size)
    return place


cdef Py_ssize_t _api_buffered_bytes(PyObject *stream) noexcept:
    return (<EpollStream>stream)._buffered_bytes


cdef void _api_attach(PyObject *stream, PyObject *receiver, telex_receive receive) noexcept:
    cdef EpollStream found = <EpollStream>stream
    cdef PyObject *before = found._receiver
    if receiver is not NULL and found._state != LOST:
        Py_INCREF(<object>receiver)
        found._receiver, found._receive = receiver, receive
    else:
        found._receiver, found._receive = NULL, NULL
    Py_XDECREF(before)


cdef telex_streams _api
_api.stream_type = <PyTypeObject *><PyObject *>EpollStream
_api.write = _api_write
_api.buffered_bytes = _api_buffered_bytes
_api.reserve = _api_reserve
_api.attach = _api_attach
api = PyCapsule_New(&_api, TELEX_STREAMS_API, NULL)
