"""A process that does jobs for another one: the end that `_workers.py` talks to.

A job comes as a frame on standard input, its result goes back as one on standard output: the
length in 8 bytes, then what cloudpickle made of it. What a job prints goes to standard error.
"""

from __future__ import annotations

import os
import pickle
import struct
import traceback
from typing import Any, BinaryIO

__all__ = ["call", "main", "read_frame", "write_frame"]

_LENGTH = struct.Struct("<Q")


def call(job: bytes) -> bytes:
    """Do a pickled job `(function, argument)`: its result or its exception, pickled.

    Pickled here and not by an executor: PyTorch teaches those to send tensors as shared memory,
    which is gone when the worker is.
    """
    try:
        function, argument = pickle.loads(job)
        answer: tuple[Any, BaseException | None, str] = (function(argument), None, "")
    except Exception as error:
        answer = (None, error, traceback.format_exc())
    try:
        return pickle.dumps(answer)
    except Exception:  # an exception, or a result, that does not survive pickling
        return pickle.dumps((None, RuntimeError(f"{answer[1] or answer[0]!r}"), answer[2]))


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next frame; None at the end of the stream."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack(head)
    body = stream.read(size)
    return body if len(body) == size else None


def write_frame(stream: BinaryIO, body: bytes) -> None:
    """Write a frame."""
    stream.write(_LENGTH.pack(len(body)))
    stream.write(body)
    stream.flush()


def main(threads: int) -> None:
    """Do jobs until standard input ends."""
    import torch

    torch.set_num_threads(threads)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with os.fdopen(os.dup(0), "rb") as jobs, answers:
        while (job := read_frame(jobs)) is not None:
            write_frame(answers, call(job))
