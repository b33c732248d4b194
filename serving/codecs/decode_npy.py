"""application/x-npy and application/x-npz in: numpy's array file, and scipy's sparse matrix in a zip of such files.

Invariant: nothing is unpickled, and no memory is taken on the word of a header. An npy's shape must be exactly as large
as the bytes that follow it. A zip's members are added up and held against a cap before one is opened, none yields more
than it declared, and no compression is opened but the two that numpy writes. The indices of a sparse matrix are checked
here, to the last one: scipy's own check has a hole, and the C code behind it writes where they point.
"""

import ast
import io
import math
import re
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
import scipy.sparse

from serving.codecs.table import WIDEST, Data, Names
from serving.codecs.words import counted, quoted
from serving.errors import BadInput, TooLarge

# What a zip may unpack to: 32 times the body (16 MiB for the smallest), and never over 1 GiB.
LARGEST_RATIO, SMALLEST_CAP, LARGEST_CAP = 32, 16 << 20, 1 << 30

_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}  # format version -> width of the field that says how long the header is
_LONGEST_HEADER, _NO_LENGTH = 10_000, 1 << 48
_NUMERIC = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248])")
_ENTRY, _MOST_MEMBERS = b"PK\x01\x02", 16  # what opens an entry of a zip's directory
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError, OverflowError)


def decode_npy(body: bytes, parameters: dict[str, str], names: Names) -> Data:
    """Rows x features of the dtype that was sent (booleans, integers, floats), in native byte order. 1-D is one row."""
    array = _array(body, "The body")
    if not array.ndim or not array.size:
        raise BadInput("The array has no rows of features. Send at least one row of at least one feature.")
    return np.ascontiguousarray(np.atleast_2d(array))


def decode_npz(body: bytes, parameters: dict[str, str], names: Names) -> Data:
    """A matrix as scipy.sparse.save_npz writes it (csr, csc or coo), as csr; entries of one place are added up."""
    members = _members(body)
    try:
        kind = members["format"].replace(b"\0", b"")[-3:].decode("latin-1")
        if kind not in _KINDS:
            raise BadInput(f"The sparse format {quoted(kind)} cannot be read here. Send {', '.join(_KINDS)}.")
        matrix = _KINDS[kind](members, _shape(members, _cap(body)))
    except KeyError as error:
        raise BadInput(f"The npz has no member {error}. scipy.sparse.save_npz writes all that are needed.") from None
    matrix.sum_duplicates()
    return matrix


def _array(content: bytes, what: str) -> np.ndarray:
    dtype, order, shape, start = _header(content, what)
    if len(shape) > 2:
        raise BadInput(f"{what} has {counted(len(shape), 'dimension')}; rows x features are two.")
    needed, held = math.prod(shape) * dtype.itemsize, len(content) - start
    if needed != held:
        raise BadInput(f"{what} declares the shape {shape}, which is {needed} bytes, and holds {held}.")
    if not needed:
        return np.empty(0, dtype)
    flat = np.frombuffer(content, dtype, offset=start)
    return flat.reshape(shape, order=order).astype(dtype.newbyteorder("="))


def _header(content: bytes, what: str) -> tuple[np.dtype[Any], Any, tuple[int, ...], int]:
    """dtype, order, shape, and where the numbers start."""
    width = _LENGTH_BYTES.get(content[6]) if content.startswith(_MAGIC) and len(content) > 8 else None
    if width is None:
        raise BadInput(f"{what} is not an npy file. numpy.save writes one.")
    start = 8 + width + int.from_bytes(content[8 : 8 + width], "little")
    if start > min(len(content), _LONGEST_HEADER):
        raise BadInput(f"{what} has an npy header that is cut short or longer than {_LONGEST_HEADER} bytes.")
    try:
        header = ast.literal_eval(content[8 + width : start].decode("latin-1").strip())
        descr, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        raise BadInput(f"{what} has an npy header that cannot be read.") from None
    if not isinstance(descr, str) or not _NUMERIC.fullmatch(descr):
        raise BadInput(f"{what} holds {quoted(str(descr))}; only booleans, integers and floats to 64 bits are read.")
    if type(shape) is not tuple or not all(type(length) is int and 0 <= length < _NO_LENGTH for length in shape):
        raise BadInput(f"{what} has an npy header whose shape is impossible.")
    return np.dtype(descr), "F" if fortran else "C", shape, start


def _cap(body: bytes) -> int:
    return min(max(LARGEST_RATIO * len(body), SMALLEST_CAP), LARGEST_CAP)


def _members(body: bytes) -> dict[str, bytes]:
    """The unpacked members, by name without .npy."""
    if body.count(_ENTRY) > _MOST_MEMBERS:
        raise BadInput(f"The npz has more than {_MOST_MEMBERS} members; a sparse matrix has five or six.")
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > _cap(body):
                raise TooLarge(f"The npz unpacks to {size} bytes, and at most {_cap(body)} are allowed for its size.")
            return {entry.filename.removesuffix(".npy"): _unpacked(archive, entry) for entry in archive.infolist()}
    except _BROKEN_ZIP:
        raise BadInput("The body is not an npz file that can be read. scipy.sparse.save_npz writes one.") from None


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Read with the size: without one, zipfile unpacks all there is before it cuts to what was declared."""
    if entry.compress_type not in _COMPRESSIONS:
        raise BadInput("The npz is compressed in a way that numpy does not write.")
    with archive.open(entry) as file:
        content = file.read(entry.file_size)
    if len(content) != entry.file_size:
        raise zipfile.BadZipFile
    return content


def _shape(members: dict[str, bytes], cap: int) -> tuple[int, int]:
    """Rows and columns. Rows cost memory even when they are empty, so they count towards the cap."""
    lengths = _indices(members, "shape").tolist()
    if len(lengths) != 2 or min(lengths) < 1:
        raise BadInput(f"The sparse matrix's shape is {tuple(lengths[:3])}. Send at least one row of one feature.")
    rows, columns = lengths
    if 8 * rows > cap or columns > WIDEST:
        raise TooLarge(f"A sparse matrix of {rows} rows and {columns} columns is more than its body's size allows.")
    return rows, columns


def _indices(members: dict[str, bytes], name: str) -> np.ndarray:
    array = _array(members[name], f"The member {name}")
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise BadInput(f"The member {name} of the npz is not a list of whole numbers.")
    return array.astype(np.int64)


def _entries(members: dict[str, bytes]) -> np.ndarray:
    array = _array(members["data"], "The member data")
    if array.ndim != 1:
        raise BadInput("The member data of the npz is not a list of numbers.")
    return array.astype(np.float32) if array.dtype == np.float16 else array  # scipy.sparse has no float16


def _rows_compressed(members: dict[str, bytes], shape: tuple[int, int]) -> Any:
    return scipy.sparse.csr_matrix(_compressed(members, *shape), shape=shape)


def _columns_compressed(members: dict[str, bytes], shape: tuple[int, int]) -> Any:
    rows, columns = shape
    return scipy.sparse.csc_matrix(_compressed(members, columns, rows), shape=shape).tocsr()


def _compressed(members: dict[str, bytes], lines: int, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Entries, their places in their line, and where each of the lines starts.

    scipy's own full check passes over everything when the last start is 0, and its C code then writes out of bounds.
    """
    entries, places, starts = _entries(members), _indices(members, "indices"), _indices(members, "indptr")
    if len(starts) != lines + 1 or len(places) != len(entries):
        raise BadInput("The sparse matrix's shape, indptr, indices and data are not of one length.")
    if starts[0] != 0 or starts[-1] != len(entries) or np.any(np.diff(starts) < 0):
        raise BadInput("The sparse matrix's indptr does not go from 0 to the number of entries without going back.")
    _check_within(places, length)
    return entries, places, starts


def _coordinates(members: dict[str, bytes], shape: tuple[int, int]) -> Any:
    entries, rows, columns = _entries(members), _indices(members, "row"), _indices(members, "col")
    if not len(entries) == len(rows) == len(columns):
        raise BadInput("The sparse matrix's row, col and data are not of one length.")
    _check_within(rows, shape[0])
    _check_within(columns, shape[1])
    return scipy.sparse.coo_matrix((entries, (rows, columns)), shape=shape).tocsr()


def _check_within(places: np.ndarray, length: int) -> None:
    if places.size and (places.min() < 0 or places.max() >= length):
        raise BadInput("The sparse matrix has an entry outside of its shape.")


_KINDS = {"csr": _rows_compressed, "csc": _columns_compressed, "coo": _coordinates}
