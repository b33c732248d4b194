"""What goes into a model.tar.gz comes out of it; what should not be in one does not get onto the disk (T14, L11)."""

import gzip
import hashlib
import io
import os
import stat
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.artifact import DEFAULT_LIMITS, Limits, Unpacked, pack, unpack
from serving.errors import InvalidModel, MedleyError, TooLarge

Member = tuple[tarfile.TarInfo, bytes]
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def file(name: str, content: bytes = b"x", **attributes: object) -> Member:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for attribute, value in attributes.items():
        setattr(member, attribute, value)
    return member, content


def other(name: str, kind: bytes, **attributes: object) -> Member:
    return file(name, b"", type=kind, **attributes)


def tar(members: Iterable[Member], format_: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format_) as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def unpacked(tmp_path: Path, content: bytes, limits: Limits = DEFAULT_LIMITS) -> Unpacked:
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(content)
    return unpack(archive, tmp_path / "model", limits)


def refused(
    tmp_path: Path, content: bytes, limits: Limits = DEFAULT_LIMITS, kind: type[MedleyError] = InvalidModel
) -> str:
    """The sentence that it is refused with; nothing of it may be left."""
    with pytest.raises(kind) as raised:
        unpacked(tmp_path, content, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]
    assert str(tmp_path) not in str(raised.value)
    return str(raised.value)


def tree(folder: Path) -> dict[str, bytes | None]:
    paths = (path for path in folder.rglob("*"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in paths}


def test_a_folder_comes_out_as_it_went_in(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "code" / "lib").mkdir(parents=True)
    (source / "model.json").write_bytes(b"{}")
    (source / "code" / "inference.py").write_bytes(b"x = 1\n" * 1000)
    (source / "empty").mkdir()
    pack(source, tmp_path / "model.tar.gz")
    result = unpack(tmp_path / "model.tar.gz", tmp_path / "model")
    assert tree(tmp_path / "model") == tree(source)
    assert result == Unpacked(bytes=6002, members=5)


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda name: (
        name not in (".", "..", "__pycache__", ".DS_Store")
        and name.lower() not in ("mar-inf", "manifest.json")
        and not name.endswith((".tar", ".gz", ".tgz", ".zip"))
    )
)
trees = st.recursive(
    st.binary(max_size=2000), lambda inner: st.dictionaries(names, inner, max_size=4), max_leaves=8
).filter(lambda node: isinstance(node, dict))


def write(folder: Path, node: dict[str, object]) -> None:
    folder.mkdir()
    for name, content in node.items():
        if isinstance(content, dict):
            write(folder / name, content)
        else:
            assert isinstance(content, bytes)
            (folder / name).write_bytes(content)


@QUICK
@given(trees)
def test_any_tree_survives_the_round_trip(tmp_path_factory: pytest.TempPathFactory, node: dict[str, object]) -> None:
    place = tmp_path_factory.mktemp("trip")
    write(place / "source", node)
    expected = tree(place / "source")
    if not any(content is not None for content in expected.values()):
        with pytest.raises(InvalidModel, match="no file"):
            pack(place / "source", place / "a")
        return
    pack(place / "source", place / "a")
    unpack(place / "a", place / "model")
    assert tree(place / "model") == expected


def test_names_up_to_the_systems_limit_survive(tmp_path: Path) -> None:
    long = "ü" * 127
    (tmp_path / "source" / long / long).mkdir(parents=True)
    (tmp_path / "source" / long / long / "模型.json").write_bytes(b"1")
    pack(tmp_path / "source", tmp_path / "a")
    unpack(tmp_path / "a", tmp_path / "model")
    assert tree(tmp_path / "model") == tree(tmp_path / "source")


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_dialect_of_tar_is_read(tmp_path: Path, format_: int) -> None:
    long = "/".join(["part"] * 30) + ".json"
    content = tar([other("./", tarfile.DIRTYPE), file("./model.json", b"{}"), file(long, b"deep")], format_)
    unpacked(tmp_path, gzip.compress(content))
    assert (tmp_path / "model" / long).read_bytes() == b"deep"
    assert (tmp_path / "model" / "model.json").read_bytes() == b"{}"


def test_a_tar_that_is_not_compressed_is_read(tmp_path: Path) -> None:
    assert unpacked(tmp_path, tar([file("model.json", b"{}")])) == Unpacked(bytes=2, members=1)


def test_a_gzip_in_several_parts_is_read(tmp_path: Path) -> None:
    content = tar([file("model.json", b"x" * 5000)])
    unpacked(tmp_path, gzip.compress(content[:3000]) + gzip.compress(content[3000:]))
    assert (tmp_path / "model" / "model.json").read_bytes() == b"x" * 5000


def test_a_size_from_a_pax_header_counts(tmp_path: Path) -> None:
    member, content = file("model.json", b"y" * 700)
    raw = bytearray(tar([(member, content)]))
    header = tarfile.TarInfo("model.json")
    header.pax_headers = {"size": "700", "mtime": "1.5"}
    extra = header.create_pax_header({**header.get_info(), "size": 0}, "utf-8")[: -tarfile.BLOCKSIZE]
    zeroed = tarfile.TarInfo("model.json").tobuf(tarfile.USTAR_FORMAT)
    unpacked(tmp_path, extra + zeroed + raw[512:])
    assert (tmp_path / "model" / "model.json").read_bytes() == content


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    for number, order in enumerate(("ab", "ba")):
        source = tmp_path / f"source{number}"
        source.mkdir()
        for name in order:
            (source / name).write_bytes(name.encode())
            os.utime(source / name, (number, number))
        (source / "a").chmod(0o640 + number)
    first, second = (pack(tmp_path / f"source{n}", tmp_path / f"{n}.tar.gz") for n in (0, 1))
    content = (tmp_path / "0.tar.gz").read_bytes()
    assert content == (tmp_path / "1.tar.gz").read_bytes()
    assert first == second == hashlib.sha256(content).hexdigest()


def test_a_packed_member_has_no_owner_no_time_and_no_folder_before_it(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "model.json").write_bytes(b"1")
    pack(tmp_path / "source", tmp_path / "a")
    with tarfile.open(tmp_path / "a") as archive:
        (member,) = archive.getmembers()
    assert (member.name, member.mtime, member.uid, member.gid, member.uname, member.gname, member.mode) == (
        "model.json", 0, 0, 0, "", "", 0o644,
    )  # fmt: skip
    assert (tmp_path / "a").read_bytes()[3:8] == bytes(5)  # gzip: no name, no time


def test_bytecode_and_an_older_archive_are_not_packed(tmp_path: Path) -> None:
    for name in ("__pycache__/x.pyc", "code/__pycache__/x.pyc", ".DS_Store", "model.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"1")
    first = pack(tmp_path, tmp_path / "model.tar.gz")
    assert pack(tmp_path, tmp_path / "model.tar.gz") == first
    with tarfile.open(tmp_path / "model.tar.gz") as archive:
        assert archive.getnames() == ["code", "model.json"]


@pytest.mark.parametrize(
    ("limits", "files", "sentence"),
    [
        (Limits(members=3), {"a": b"", "b": b"", "data/c": b""}, "more than 3 files and folders"),
        (Limits(total_bytes=4096), {"a": bytes(4096)}, "more than 4,096 bytes"),
        # All of it would be within the ratio; a reader is past it before it comes to the part that compresses badly.
        (Limits(ratio=20, ratio_from=1 << 20), {"a": bytes(2 << 20), "b": os.urandom(1 << 20)}, "20 times its size"),
    ],
)
def test_what_could_not_be_unpacked_is_not_packed(
    tmp_path: Path, limits: Limits, files: dict[str, bytes], sentence: str
) -> None:
    for name, content in files.items():
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_bytes(content)
    with pytest.raises(TooLarge, match=sentence):
        pack(tmp_path / "model", tmp_path / "model.tar.gz", limits)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    pack(tmp_path / "model", tmp_path / "model.tar.gz")


def test_what_is_no_file_cannot_be_packed(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with pytest.raises(InvalidModel, match="no file"):
        pack(tmp_path / "source", tmp_path / "a")
    (tmp_path / "source" / "x").symlink_to("/etc/passwd")
    with pytest.raises(InvalidModel, match="'x' is a link"):
        pack(tmp_path / "source", tmp_path / "a")
    (tmp_path / "source" / "x").unlink()
    os.mkfifo(tmp_path / "source" / "y")
    with pytest.raises(InvalidModel, match="'y' is neither"):
        pack(tmp_path / "source", tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_modes_and_owner_are_ours(tmp_path: Path) -> None:
    members = [
        other("d", tarfile.DIRTYPE, mode=0o000, uid=12345),
        file("d/secret", mode=0o000, uid=12345),
        file("d/run", mode=0o6777),
        file("d/wide", mode=0o666),
    ]
    unpacked(tmp_path, gzip.compress(tar(members)))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "model").rglob("*")}
    assert modes == {"d": 0o755, "secret": 0o644, "run": 0o755, "wide": 0o644}
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o755
    assert (tmp_path / "model" / "d" / "secret").stat().st_uid == os.getuid()


def test_what_the_model_server_would_read_is_left_out_and_named(tmp_path: Path) -> None:
    hidden = [
        "MAR-INF/MANIFEST.json",
        "mar-inf/x",
        "manifest.json",
        "Manifest.JSON",
        "sub/MANIFEST.json",
        "sub/manifest.json/x",
    ]
    kept = ["model.json", "a/b/manifest.json", "a/MAR-INF/x", "my-manifest.json"]
    result = unpacked(tmp_path, gzip.compress(tar([file(name) for name in [*hidden, *kept]])))
    assert result.left_out == tuple(hidden)
    assert {name for name, content in tree(tmp_path / "model").items() if content} == set(kept)


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "absolute name": (lambda: tar([file("/tmp/evil")]), "absolute"),
    "name that climbs out": (lambda: tar([file("../evil")]), "leads out"),
    "name that climbs out in the middle": (lambda: tar([file("a/../../evil")]), "leads out"),
    "folder that climbs out": (lambda: tar([other("..", tarfile.DIRTYPE)]), "leads out"),
    "symbolic link out": (lambda: tar([other("x", tarfile.SYMTYPE, linkname="/etc"), file("x/passwd")]), "a link"),
    "symbolic link inside": (lambda: tar([file("a"), other("b", tarfile.SYMTYPE, linkname="a")]), "a link"),
    "hard link": (lambda: tar([file("a"), other("b", tarfile.LNKTYPE, linkname="a")]), "--dereference"),
    "fifo": (lambda: tar([other("pipe", tarfile.FIFOTYPE)]), "neither a file nor a folder"),
    "character device": (lambda: tar([other("null", tarfile.CHRTYPE, devmajor=1, devminor=3)]), "neither"),
    "block device": (lambda: tar([other("disk", tarfile.BLKTYPE)]), "neither"),
    "sparse file": (lambda: tar([other("s", tarfile.GNUTYPE_SPARSE)], tarfile.GNU_FORMAT), "neither"),
    "the same file twice": (lambda: tar([file("a"), file("./a")]), "twice"),
    "a file that is also a folder": (lambda: tar([file("a"), file("a/b")]), "as a file and as a folder"),
    "a folder that is also a file": (lambda: tar([file("a/b"), file("a")]), "twice"),
    "part of 256 bytes": (lambda: tar([file("n" * 256)]), "too long"),
    "name of 1025 bytes": (lambda: tar([file("/".join(["n" * 100] * 11))]), "too long"),
    "zero byte in a name": (lambda: pax_tar({"path": "a\0b"}), "zero byte"),
    "name that is not UTF-8": (lambda: tar([file("caf\udce9")], tarfile.GNU_FORMAT), "not UTF-8"),
    "the folder itself as a file": (lambda: tar([file(".")]), "neither"),
    "a sparse file by pax": (lambda: pax_tar({"GNU.sparse.major": "1"}), "--sparse"),
    "a pax size that is none": (lambda: pax_tar({"size": "-5"}), "--sparse"),
    "an endless pax record": (lambda: extra_header(tarfile.XHDTYPE, b"0 a=b\n" * 10), "damaged"),
    "a pax record without a length": (lambda: extra_header(tarfile.XHDTYPE, b"path=/etc/passwd\n"), "damaged"),
    "a header that says 1 GB of name": (lambda: bare(tarfile.GNUTYPE_LONGNAME, 1 << 30), "no sensible size"),
    "a negative size": (lambda: bare(tarfile.REGTYPE, -512), "no sensible size"),
    "headers without end": (lambda: bare(tarfile.XHDTYPE, 0) * 9, "header follows header"),
    "no member": (lambda: tar([]), "no file"),
    "folders alone": (lambda: tar([other("a", tarfile.DIRTYPE)]), "no file"),
    "nothing but another archive": (lambda: tar([file("a/model.tar.gz")]), "another archive"),
}  # fmt: skip


def extra_header(kind: bytes, content: bytes) -> bytes:
    return bare(kind, len(content)) + content.ljust(512, b"\0") + tar([file("a")])


def bare(kind: bytes, size: int) -> bytes:
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, size
    return header.tobuf(tarfile.GNU_FORMAT)


def pax_tar(records: dict[str, str]) -> bytes:
    member, content = file("plain")
    member.pax_headers = records
    return tar([(member, content)])


@pytest.mark.parametrize("pack_", [gzip.compress, bytes], ids=["gzip", "plain"])
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(
    tmp_path: Path, case: str, pack_: Callable[[bytes], bytes]
) -> None:
    build, sentence = HOSTILE[case]
    assert sentence in refused(tmp_path, pack_(build()))


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "0 bytes"),
    "text": (b"hello, this is no archive" * 100, "neither a tar.gz nor a tar"),
    "short text": (b"hello", "neither a tar.gz nor a tar"),
    "gzip of text": (gzip.compress(b"hello"), "neither a tar.gz nor a tar"),
    "gzip of nothing": (gzip.compress(b""), "neither a tar.gz nor a tar"),
    "zip": (b"PK\3\4" + bytes(100), "is zip"),
    "xz": (b"\xfd7zXZ\0" + bytes(100), "is xz"),
    "gzip's first two bytes": (b"\x1f\x8b", "cut short or damaged"),
    "gzip of an unknown method": (b"\x1f\x8b\x09" + bytes(100), "cut short or damaged"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_archive_is_named_for_what_it_is(tmp_path: Path, case: str) -> None:
    content, sentence = BROKEN[case]
    assert sentence in refused(tmp_path, content)


WHOLE = tar([file("model.json", os.urandom(3000)), file("code/inference.py", b"pass")])


@pytest.mark.parametrize("pack_", [gzip.compress, bytes], ids=["gzip", "plain"])
def test_an_archive_that_is_cut_anywhere_is_refused(tmp_path: Path, pack_: Callable[[bytes], bytes]) -> None:
    whole = pack_(WHOLE)
    end = len(whole) if pack_ is gzip.compress else 512 + 3072 + 512 + 512  # past it a plain tar is nothing but zeros
    for length in [*range(1, end, 97), end - 1, end - 8]:
        refused(tmp_path, whole[:length])


def test_a_flipped_bit_in_the_content_is_noticed(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(WHOLE, compresslevel=0))
    whole[2000] ^= 1
    assert "damaged" in refused(tmp_path, bytes(whole))


def test_a_wrong_checksum_after_the_last_member_is_noticed(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(WHOLE))
    whole[-5] ^= 1
    assert "damaged" in refused(tmp_path, bytes(whole))


def test_a_gzip_without_tars_end_mark_is_read(tmp_path: Path) -> None:
    assert unpacked(tmp_path, gzip.compress(WHOLE[: 512 + 3072 + 512 + 512])).members == 3


def zeros_in_gzip(size: int) -> bytes:
    """A tar of one file of zeros, which never exists as a whole."""
    header = tarfile.TarInfo("zeros")
    header.size = size
    compressor = zlib.compressobj(9, wbits=31)
    parts = [compressor.compress(header.tobuf())]
    parts += [compressor.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return b"".join(parts) + compressor.compress(bytes(1024)) + compressor.flush()


def test_a_bomb_is_left_at_the_ratio(tmp_path: Path) -> None:
    bomb = zeros_in_gzip(16 << 20)
    limits = Limits(ratio_from=1 << 20)
    assert "200 times" in refused(tmp_path, bomb, limits, TooLarge)
    assert unpacked(tmp_path, bomb, Limits(ratio_from=32 << 20)).bytes == 16 << 20


def test_memory_stays_flat(tmp_path: Path) -> None:
    content = gzip.compress(tar([file("big", os.urandom(1 << 20) * 16)]), compresslevel=1)
    tracemalloc.start()
    assert unpacked(tmp_path, content).bytes == 16 << 20
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_a_bomb_in_the_padding_is_left_too(tmp_path: Path) -> None:
    content = tar([file("model.json")]) + bytes(16 << 20)
    assert "200 times" in refused(tmp_path, gzip.compress(content), Limits(ratio_from=1 << 20), TooLarge)


def test_a_size_above_the_limit_is_refused_by_its_header_alone(tmp_path: Path) -> None:
    header = tarfile.TarInfo("big")
    header.size = 1 << 40
    assert "more than 5,368,709,120 bytes" in refused(tmp_path, gzip.compress(header.tobuf()), kind=TooLarge)


def test_bytes_are_counted_over_all_members(tmp_path: Path) -> None:
    content = tar([file(str(number), bytes(1000)) for number in range(20)])
    assert "more than 20,000 bytes" in refused(tmp_path, content, Limits(total_bytes=20_000), TooLarge)
    assert unpacked(tmp_path, content, Limits(total_bytes=len(content))).members == 20


def test_folders_that_are_only_implied_count_as_members(tmp_path: Path) -> None:
    content = tar([file("a/b/c/d")])
    assert "more than 3 files" in refused(tmp_path, content, Limits(members=3), TooLarge)
    assert unpacked(tmp_path, content, Limits(members=4)).members == 4


def test_a_folder_that_is_there_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_bytes(b"1")
    with pytest.raises(OSError, match="not empty"):
        unpacked(tmp_path, tar([file("new")]))
    assert tree(tmp_path / "model") == {"old": b"1"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "model"]


@QUICK
@given(st.binary(max_size=3000))
def test_no_bytes_raise_anything_but_our_own_errors(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    for archive in (content, gzip.compress(content), b"\x1f\x8b\x08" + content):
        refused(tmp_path_factory.mktemp("any"), archive, kind=MedleyError)


@QUICK
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=6), st.booleans())
def test_no_damaged_archive_raises_anything_but_our_own_errors(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], compressed: bool
) -> None:
    place, content = tmp_path_factory.mktemp("damaged"), bytearray(WHOLE)
    for position, byte in changes:
        content[position % 1024 if byte % 2 else position] = byte  # most of what can go wrong is in the headers
    try:
        unpacked(place, gzip.compress(bytes(content)) if compressed else bytes(content))
    except MedleyError:
        assert [path.name for path in place.iterdir()] == ["a.tar.gz"]
    else:
        assert {path.name for path in place.iterdir()} == {"a.tar.gz", "model"}
