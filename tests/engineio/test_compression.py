"""Compression: which coding, and from which size on."""

from __future__ import annotations

import gzip
import zlib

import pytest

from telex.engineio.compression import choose_coding, compress
from telex.engineio.handshake import Response


@pytest.mark.parametrize(
    ("accept_encoding", "coding"),
    [
        ("gzip, deflate, br, zstd", "gzip"),
        ("deflate, gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip", "gzip"),
        ("GZip", "gzip"),
        ("*", "gzip"),
        ("br, *", "gzip"),
        ("gzip;q=0.5, deflate", "deflate"),
        ("gzip;q=0.5, deflate;q=0.4", "gzip"),
        ("gzip ; q=0.5 ,\tdeflate", "deflate"),
        ("gzip;q=0, *", "deflate"),
        ("*;q=0, deflate;q=0.001", "deflate"),
        ("gzip;q=1.000", "gzip"),
        ("gzip, identity", "gzip"),
        ("gzip;q=0.5, identity;q=0.4", "gzip"),
        ("identity, gzip;q=0.5", None),
        ("", None),
        ("identity", None),
        ("br", None),
        ("gzip;q=0", None),
        ("gzip;q=0.000", None),
        ("*;q=0", None),
        # What cannot be read is no wish: RFC 9110 §12.4.2 knows three digits, and these are none.
        ("gzip;q=nan", None),
        ("gzip;q=inf", None),
        ("gzip;q=1e9", None),
        ("gzip;q=-1", None),
        ("gzip;q=0.1234", None),
        ("gzip;q=2", None),
        ("gzip;q=", None),
        ("gzip;level=9", None),
        ("gzip;q=²", None),
        ("x-gzip", None),
        (",;,", None),
    ],
)
def test_the_client_chooses(accept_encoding: str, coding: str | None) -> None:
    assert choose_coding(accept_encoding) == coding


def answer(size: int) -> Response:
    return Response(200, [("content-type", "text/plain")], b"4" * size)


@pytest.mark.parametrize(("coding", "decompress"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)])
def test_a_body_from_the_threshold_on_is_compressed(coding: str, decompress: object) -> None:
    response = answer(100)
    compress(response, coding, threshold=100)
    assert callable(decompress)
    assert decompress(response.body) == b"4" * 100
    assert response.headers[1:] == [("vary", "Accept-Encoding"), ("content-encoding", coding)]


def test_a_body_below_the_threshold_stays() -> None:
    response = answer(99)
    compress(response, "gzip", threshold=100)
    assert response == answer(99)


def test_a_body_that_the_client_takes_only_as_it_is_still_varies() -> None:
    response = answer(100)
    compress(response, "", threshold=100)
    assert response.body == b"4" * 100
    assert response.headers[1:] == [("vary", "Accept-Encoding")]
