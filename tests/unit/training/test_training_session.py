"""Sessions: what comes out of the sandbox is numbers, or an error; the other side is not trusted."""

import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from assay.core.errors import AssayError, JobError
from assay.training.arrays import receive, send


def message(head, body=b""):
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return io.BytesIO(len(text).to_bytes(8, "big") + text + body)


@given(
    hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.int64, np.uint8, np.bool_, "U5"]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    )
)
def test_arrays_come_back_as_they_went(array):
    stream = io.BytesIO()
    send(stream, {"method": "m"}, {"x": array})
    stream.seek(0)
    head, found = receive(stream)
    assert head == {"method": "m"}
    assert found["x"].dtype == array.dtype
    np.testing.assert_array_equal(found["x"], array)


def test_objects_do_not_travel():
    with pytest.raises(JobError, match="Only numbers"):
        send(io.BytesIO(), {}, {"x": np.array([object()])})


@pytest.mark.parametrize(
    "row",
    [
        ["x", "O", [1]],
        ["x", "V8", [1]],
        ["x", "<f8", [-1]],
        ["x", "<f8", [True]],
        ["x", "<f8", 3],
        [1, "<f8", [1]],
        ["x", "nonsense", [1]],
        "x",
        ["x", "<f8", [1] * 40],
        ["x", "<f8", [1 << 50]],
    ],
)
def test_hostile_answers_are_refused(row):
    with pytest.raises(JobError):
        receive(message({"arrays": [row]}, b"\0" * 64))


@pytest.mark.parametrize(
    "stream",
    [
        io.BytesIO(b""),
        io.BytesIO(b"\xff" * 8),
        message(b"no json"),
        message([]),
        message({}),
        message(b"[" * 100_000),
        message({"arrays": [["x", "<f8", [4]]]}, b"\0" * 8),
    ],
)
def test_what_is_no_message_is_refused(stream):
    with pytest.raises(JobError):
        receive(stream)


def test_an_answer_beyond_the_limit_is_refused():
    with pytest.raises(JobError, match="more bytes"):
        receive(message({"arrays": [["x", "<f8", [1 << 20]]]}), limit=1 << 20)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_message_or_one_error(data):
    with contextlib.suppress(AssayError):
        receive(io.BytesIO(data))
