"""npy, npz and libsvm in: what is kept, what is refused, and that no header is believed."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.codecs import decode
from serving.errors import BadInput, MedleyError, TooLarge

NPY, NPZ, SVM = "application/x-npy", "application/x-npz", "text/libsvm"


def refused(body: bytes, content_type: str, error: type[MedleyError] = BadInput) -> str:
    with pytest.raises(error) as raised:
        decode(body, content_type)
    return str(raised.value)


def npy(values: object, **options: bool) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(values), **options)
    return buffer.getvalue()


def npy_with_header(header: str, content: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + content


def npz(matrix: object) -> bytes:
    buffer = io.BytesIO()
    scipy.sparse.save_npz(buffer, matrix)
    return buffer.getvalue()


def zipped(**members: object) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content if isinstance(content, bytes) else npy(content))
    return buffer.getvalue()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f8", ">i2", "i8", "u1", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_npy_keeps_its_numeric_dtype_in_native_order(dtype, order):
    sent = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype, order=order)
    data = decode(npy(sent), NPY)
    assert data.dtype == sent.dtype.newbyteorder("=")
    assert data.dtype.isnative
    assert data.flags.c_contiguous
    assert data.flags.writeable
    assert np.array_equal(data, sent)


def test_an_npy_of_one_dimension_is_one_row():
    assert decode(npy([1.0, 2.0]), NPY).tolist() == [[1, 2]]


class Bomb:
    went_off = False

    def __reduce__(self):
        return setattr, (Bomb, "went_off", True)


def test_an_npy_is_never_unpickled():
    objects = np.array([[Bomb()]], dtype=object)
    sentence = 'The body holds "|O"; only booleans, integers and floats to 64 bits are read.'
    assert refused(npy(objects, allow_pickle=True), NPY) == sentence
    refused(
        zipped(format=b"csr", shape=[1, 1], indptr=[0, 1], indices=[0], data=npy(objects[0], allow_pickle=True)), NPZ
    )
    assert not Bomb.went_off


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"1,2", "The body is not an npy file. numpy.save writes one."),
        (npy([["a"]]), 'The body holds "<U1"; only booleans, integers and floats to 64 bits are read.'),
        (npy([[1j]]), 'The body holds "<c16"; only booleans, integers and floats to 64 bits are read.'),
        (npy([[[1.0]]]), "The body has 3 dimensions; rows x features are two."),
        (npy(1.0), "The array has no rows of features. Send at least one row of at least one feature."),
        (npy(np.empty((0, 4))), "The array has no rows of features. Send at least one row of at least one feature."),
        (npy([[1.0, 2.0]])[:-3], "The body declares the shape (1, 2), which is 16 bytes, and holds 13."),
        (npy([[1.0, 2.0]]) + b"x", "The body declares the shape (1, 2), which is 16 bytes, and holds 17."),
        (npy_with_header("{'descr': '<f8'"), "The body has an npy header that cannot be read."),
        (
            npy_with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 2)}"),
            "The body has an npy header whose shape is impossible.",
        ),
        (
            npy_with_header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({'9' * 4000}, {'9' * 4000})}}"),
            "The body has an npy header whose shape is impossible.",
        ),
    ],
)
def test_an_npy_that_cannot_be_read_says_why(body, sentence):
    assert refused(body, NPY) == sentence


def test_an_npy_header_that_claims_the_world_takes_no_memory():
    body = npy_with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 50)}", b"\0" * 8)
    tracemalloc.start()
    assert refused(body, NPY).endswith("which is 400000000000 bytes, and holds 8.")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("kind", ["csr", "csc", "coo"])
def test_an_npz_is_the_sparse_matrix_as_csr(kind):
    sent = scipy.sparse.random(6, 9, 0.3, format=kind, random_state=1, dtype=np.float32)
    data = decode(npz(sent), NPZ)
    assert isinstance(data, scipy.sparse.csr_matrix)
    assert data.dtype == np.float32
    assert np.array_equal(data.toarray(), sent.toarray())


def csr(**changed: object) -> bytes:
    good = {"format": np.array(b"csr"), "shape": [2, 3], "indptr": [0, 1, 2], "indices": [0, 2], "data": [1.0, 2.0]}
    return zipped(**{name: value for name, value in (good | changed).items() if value is not None})


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"PK", "The body is not an npz file that can be read. scipy.sparse.save_npz writes one."),
        (csr()[:-30], "The body is not an npz file that can be read. scipy.sparse.save_npz writes one."),
        (csr(data=None), "The npz has no member 'data'. scipy.sparse.save_npz writes all that are needed."),
        (csr(format=np.array(b"bsr")), 'The sparse format "bsr" cannot be read here. Send csr, csc, coo.'),
        (csr(shape=[0, 3]), "The sparse matrix's shape is (0, 3). Send at least one row of one feature."),
        (csr(indices=[0.0, 2.0]), "The member indices of the npz is not a list of whole numbers."),
        (csr(indices=[0, 3]), "The sparse matrix has an entry outside of its shape."),
        (csr(indices=[0, -1]), "The sparse matrix has an entry outside of its shape."),
        (csr(indices=[0]), "The sparse matrix's shape, indptr, indices and data are not of one length."),
        (csr(indptr=[0, 2]), "The sparse matrix's shape, indptr, indices and data are not of one length."),
        # With a last start of 0 scipy checks nothing more, and its sorting writes where the second one points.
        (
            csr(indptr=[0, 1 << 40, 0]),
            "The sparse matrix's indptr does not go from 0 to the number of entries without going back.",
        ),
        (
            zipped(**{str(at): [1] for at in range(20)}),
            "The npz has more than 16 members; a sparse matrix has five or six.",
        ),
    ],
)
def test_an_npz_that_cannot_be_read_says_why(body, sentence):
    assert refused(body, NPZ) == sentence


def test_csc_and_coo_entries_outside_of_the_shape_are_refused():
    for matrix in (
        csr(format=np.array(b"csc"), indptr=[0, 1, 2, 2], indices=[0, 9]),
        zipped(format=np.array(b"coo"), shape=[2, 3], row=[0, 9], col=[0, 0], data=[1.0, 1.0]),
    ):
        assert refused(matrix, NPZ) == "The sparse matrix has an entry outside of its shape."


lengths = st.lists(st.integers(-2, 9), max_size=6)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["csr", "csc", "coo"]), st.tuples(*[st.integers(0, 5)] * 2), lengths, lengths)
def test_whatever_a_sparse_matrix_points_at_is_within_it(kind, shape, places, starts):
    values, other = np.ones(len(places)), "row" if kind == "coo" else "indptr"
    members = {"col" if kind == "coo" else "indices": places, other: np.array(starts, np.int64), "data": values}
    body = zipped(format=np.array(kind.encode()), shape=np.array(shape), **{n: np.array(m) for n, m in members.items()})
    try:
        data = decode(body, NPZ)
    except BadInput:
        return
    assert data.shape == shape
    assert data.toarray().sum() == len(places)


def test_an_npz_bomb_is_refused_before_it_unpacks():
    body = csr(data=np.zeros(5 << 20))
    assert len(body) < 1 << 17
    tracemalloc.start()
    assert refused(body, NPZ, TooLarge).endswith("bytes, and at most 16777216 are allowed for its size.")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_an_npz_that_lies_of_its_sizes_unpacks_no_more_than_it_says():
    size = (40 << 20) + 128
    body = csr(data=np.zeros(5 << 20)).replace(size.to_bytes(4, "little"), (200).to_bytes(4, "little"))
    tracemalloc.start()
    refused(body, NPZ)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("shape", [[1 << 40, 3], [2, 1 << 40]])
def test_a_sparse_shape_that_claims_the_world_is_refused(shape):
    body = zipped(format=np.array(b"coo"), shape=shape, row=[0], col=[0], data=[1.0])
    assert refused(body, NPZ, TooLarge).startswith(f"A sparse matrix of {shape[0]} rows and {shape[1]} columns is more")


@pytest.mark.parametrize("kind", ["text/libsvm", "text/x-libsvm"])
def test_libsvm_indices_are_columns_as_they_stand(kind):
    data = decode(b"1 0:1.5 3:2 # a_comment: \xc3\xa9\r\n\n-1 qid:7 2:4 1:-3e-2\n5\n0:7\n", kind)
    assert data.toarray().tolist() == [[1.5, 0, 0, 2], [0, -0.03, 4, 0], [0, 0, 0, 0], [7, 0, 0, 0]]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"1 0:1\nx 1:2", 'Row 2: the label "x" is not a number.'),
        (b"1 0:1\n\n1 0:1 a:2", 'Row 2, entry 3: "a:2" is not index:value.'),
        (b"1 2:1 -1:2", 'Row 1, entry 3: "-1:2" is not index:value.'),
        (b"1:2:3 4", 'Row 1, entry 1: "1:2:3" is not index:value.'),
        (b"1 0:1 7:abc", 'Row 1, index 7: "abc" is not a number.'),
        (b"1 0:1_0", 'Row 1, index 0: "1_0" is not a number.'),
        (b"1 4:1 4:2", "Row 1: the index 4 is there twice."),
        (b"1 3:1\n1 3:1 0:1 3:2", "Row 2: the index 3 is there twice."),
        (b"1 4294967295:1", "Row 1, entry 2: the index is larger than 2147483646, the largest that is read."),
        (b"1 99999999999999999999:1", "Row 1, entry 2: the index is larger than 2147483646, the largest that is read."),
        (b"# nothing", "There are no rows. Send at least one."),
    ],
)
def test_libsvm_that_cannot_be_read_says_where(body, sentence):
    assert refused(body, SVM) == sentence
