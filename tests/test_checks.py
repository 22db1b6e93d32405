"""The boundary checks: what passes, and that every refusal names the argument and the remedy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlsbi import _checks

GOOD_ARRAYS = {
    "float64 array": np.array([[1.0, 2.0]]),
    "integer array": np.array([[1, 2]]),
    "unsigned array": np.array([[1, 2]], dtype=np.uint16),
    "long double array": np.array([[1, 2]], dtype=np.longdouble),
    "big-endian array": np.array([[1, 2]], dtype=">f4"),
    "reversed array": np.array([[2.0, 1.0]])[:, ::-1],
    "list": [[1, 2]],
    "tuple of tensors": (torch.tensor([1.0, 2.0]),),
    "tensor with gradient": torch.tensor([[1.0, 2.0]], requires_grad=True),
    "integer tensor": torch.tensor([[1, 2]]),
}


@pytest.mark.parametrize("value", GOOD_ARRAYS.values(), ids=GOOD_ARRAYS)
def test_as_tensor_reads_every_kind_of_array(value):
    tensor = _checks.as_tensor(value, name="x", ndim=2, shape=(None, 2))
    assert tensor.dtype == torch.float32
    assert not tensor.requires_grad
    assert tensor.tolist() == [[1.0, 2.0]]


def test_as_tensor_takes_a_read_only_array_and_keeps_its_dtype_if_asked():
    array = np.arange(3.0)
    array.flags.writeable = False
    tensor = _checks.as_tensor(array, name="x", dtype=None)
    assert tensor.dtype == torch.float64


def test_numpy_scalars_pass():
    assert _checks.check_count(np.int32(3), name="n") == 3
    assert _checks.check_seed(np.uint64(2**62), name="seed") == 2**62
    assert _checks.check_positive(np.float32(0.5), name="rate") == 0.5
    assert _checks.check_positive(0, name="rate", strict=False) == 0.0
    assert _checks.check_fraction(np.float64(0.5), name="share") == 0.5
    assert _checks.check_option("b", name="mode", allowed=("a", "b")) == "b"
    _checks.check_type(True, (bool, str), name="flag")


def tensor_of(value, **options):
    return lambda: _checks.as_tensor(value, name="arg", **options)


BAD = {
    "array: number": (tensor_of(3.0), TypeError, "Convert"),
    "array: None": (tensor_of(None), TypeError, "Convert"),
    "array: text": (tensor_of(["a", "b"]), TypeError, "Convert"),
    "array: string": (tensor_of("text"), TypeError, "Convert"),
    "array: complex": (tensor_of(np.array([1j])), TypeError, "Convert"),
    "array: complex tensor": (tensor_of(torch.tensor([1j])), TypeError, "Pass"),
    "array: ragged": (tensor_of([[1.0], [1.0, 2.0]]), ValueError, "same length"),
    "array: ragged tensors": (tensor_of([torch.ones(1), torch.ones(2)]), ValueError, "same shape"),
    "array: ndim": (tensor_of([1.0], ndim=2), ValueError, "Reshape"),
    "array: ndims": (tensor_of([1.0], ndim=(2, 3)), ValueError, "2 or 3"),
    "array: shape": (tensor_of([[1.0]], shape=(None, 2)), ValueError, r"\(n, 2\).*Reshape"),
    "array: own remedy": (tensor_of([1.0], shape=(2,), remedy="Do so."), ValueError, "Do so"),
    "array: NaN": (tensor_of([1.0, np.nan]), ValueError, "row 1.*Remove"),
    "array: overflow": (tensor_of([[1e300]]), ValueError, "overflow"),
    "type": (lambda: _checks.check_type(1, str, name="arg"), TypeError, "Pass str"),
    "type: bool": (lambda: _checks.check_type(True, int, name="arg"), TypeError, "Pass int"),
    "count: zero": (lambda: _checks.check_count(0, name="arg"), ValueError, "Pass 1 or more"),
    "count: float": (lambda: _checks.check_count(1.0, name="arg"), TypeError, "Pass"),
    "count: bool": (lambda: _checks.check_count(True, name="arg"), TypeError, "Pass"),
    "positive: zero": (lambda: _checks.check_positive(0, name="arg"), ValueError, "Pass"),
    "positive: NaN": (lambda: _checks.check_positive(np.nan, name="arg"), ValueError, "Pass"),
    "positive: inf": (lambda: _checks.check_positive(np.inf, name="arg"), ValueError, "Pass"),
    "positive: text": (lambda: _checks.check_positive("1", name="arg"), TypeError, "Pass"),
    "positive: big": (
        lambda: _checks.check_positive(2.0, name="arg", maximum=1.0),
        ValueError,
        "at most 1.0",
    ),
    "fraction: one": (lambda: _checks.check_fraction(1.0, name="arg"), ValueError, "Pass"),
    "fraction: zero": (lambda: _checks.check_fraction(0, name="arg"), ValueError, "Pass"),
    "fraction: text": (lambda: _checks.check_fraction("a", name="arg"), TypeError, "Pass"),
    "seed: negative": (lambda: _checks.check_seed(-1, name="arg"), ValueError, "Pass"),
    "seed: large": (lambda: _checks.check_seed(2**63, name="arg"), ValueError, "Pass"),
    "seed: None": (lambda: _checks.check_seed(None, name="arg"), TypeError, "Pass"),
    "seed: float": (lambda: _checks.check_seed(1.5, name="arg"), TypeError, "Pass"),
    "option": (
        lambda: _checks.check_option("c", name="arg", allowed=("a", "b")),
        ValueError,
        "'a', 'b'.*Choose",
    ),
    "option: type": (
        lambda: _checks.check_option(1, name="arg", allowed=("a", "b")),
        TypeError,
        "Pass",
    ),
}


@pytest.mark.parametrize(("call", "kind", "remedy"), BAD.values(), ids=BAD)
def test_refusals_name_the_argument_and_the_remedy(call, kind, remedy):
    with pytest.raises(kind, match=f"^arg (?s:.*){remedy}"):
        call()
