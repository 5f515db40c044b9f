"""The cache on disk: what it keeps, and what it takes for missing."""

import multiprocessing
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logv.gpu import DiskCache

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))
RECORD = b"machine code" * 100
BLOCK = 4096
WRITERS = 4


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return where a cache may be made; it does not exist yet."""
    return tmp_path / "deep" / "kernels"


def only_file(directory: Path) -> Path:
    """Return the one file of a directory."""
    (path,) = directory.iterdir()
    return path


def age(path: Path, seconds: int) -> None:
    """Make a file look as if it had been used that long ago."""
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def test_a_record_comes_back(directory: Path) -> None:
    """Also in another cache object, as in the next process; other keys have nothing."""
    cache = DiskCache(directory)
    assert cache.get(KEY) is None
    cache.put(KEY, RECORD)
    assert cache.get(KEY) == RECORD
    assert DiskCache(directory).get(KEY) == RECORD
    assert cache.get(OTHER) is None


def test_a_record_is_replaced(directory: Path) -> None:
    """The last one counts, and nothing else stays behind."""
    cache = DiskCache(directory)
    for record in (RECORD, b"", b"new"):
        cache.put(KEY, record)
        assert cache.get(KEY) == record
    assert only_file(directory).suffix == ".kernel1"


def test_only_the_owner_can_reach_it(directory: Path) -> None:
    """Directory and file are closed to everybody else, whatever the umask."""
    before = os.umask(0)
    try:
        DiskCache(directory).put(KEY, RECORD)
    finally:
        os.umask(before)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(only_file(directory).stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o701, 0o750, 0o777])
def test_a_directory_that_others_can_enter_is_not_used(directory: Path, mode: int) -> None:
    """Neither to read nor to write."""
    cache = DiskCache(directory)
    cache.put(KEY, RECORD)
    directory.chmod(mode)
    assert cache.get(KEY) is None
    cache.put(OTHER, RECORD)
    directory.chmod(0o700)
    assert cache.get(KEY) == RECORD
    assert cache.get(OTHER) is None


@pytest.mark.parametrize("mode", [0o604, 0o660, 0o602])
def test_a_file_that_others_can_reach_is_not_used(directory: Path, mode: int) -> None:
    """Somebody else may have written it."""
    cache = DiskCache(directory)
    cache.put(KEY, RECORD)
    only_file(directory).chmod(mode)
    assert cache.get(KEY) is None


def test_another_users_files_are_not_used(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ownership is compared with who this process acts for."""
    cache = DiskCache(directory)
    cache.put(KEY, RECORD)
    someone_else = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: someone_else)
    assert cache.get(KEY) is None
    cache.put(OTHER, RECORD)
    monkeypatch.undo()
    assert cache.get(OTHER) is None


def test_links_are_not_followed(directory: Path, tmp_path: Path) -> None:
    """A link in the place of the file or of the directory counts as nothing."""
    cache = DiskCache(directory)
    cache.put(KEY, RECORD)
    file = only_file(directory)
    elsewhere = tmp_path / "elsewhere"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    assert cache.get(KEY) is None
    cache.put(KEY, b"new")
    assert cache.get(KEY) == b"new"
    assert not file.is_symlink()

    real = tmp_path / "real"
    directory.rename(real)
    directory.symlink_to(real)
    assert cache.get(KEY) is None


def test_something_else_in_the_place_of_a_file(directory: Path) -> None:
    """A pipe does not block, a directory does not fail."""
    cache = DiskCache(directory)
    cache.put(KEY, RECORD)
    path = only_file(directory)
    for make in (os.mkfifo, os.mkdir):
        path.unlink()
        make(path, 0o600)
        assert cache.get(KEY) is None
    cache.put(KEY, RECORD)
    assert cache.get(KEY) is None


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: data[:31], id="cut within the digest"),
        pytest.param(lambda data: data[:-1], id="one byte short"),
        pytest.param(lambda data: data[:32], id="nothing but the digest"),
        pytest.param(lambda data: data + b"\0", id="one byte more"),
        pytest.param(lambda data: bytes(len(data)), id="zeros, as after a crash"),
        pytest.param(lambda data: b"\x7fELF" + data, id="foreign"),
    ],
)
def test_a_damaged_file_counts_as_missing(directory: Path, damage: Callable[[bytes], bytes]) -> None:
    """And the next record takes its place."""
    cache = DiskCache(directory)
    cache.put(KEY, RECORD)
    path = only_file(directory)
    path.write_bytes(damage(path.read_bytes()))
    assert cache.get(KEY) is None
    cache.put(KEY, RECORD)
    assert cache.get(KEY) == RECORD


@given(record=st.binary(max_size=64), place=st.integers(min_value=0), bit=st.integers(0, 7))
def test_one_flipped_bit_is_seen(
    tmp_path_factory: pytest.TempPathFactory, record: bytes, place: int, bit: int
) -> None:
    """Wherever it is: in the digest, the key or the record."""
    directory = tmp_path_factory.mktemp("flipped") / "kernels"
    cache = DiskCache(directory)
    cache.put(KEY, record)
    path = only_file(directory)
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1 << bit
    path.write_bytes(data)
    assert cache.get(KEY) is None


def test_a_file_under_another_name_is_not_taken_for_it(directory: Path) -> None:
    """The key stands in the file as well."""
    cache = DiskCache(directory)
    cache.put(KEY, RECORD)
    path = only_file(directory)
    path.rename(path.with_stem(OTHER.hex()))
    assert cache.get(OTHER) is None


def test_a_directory_that_cannot_be_used_is_no_cache(tmp_path: Path) -> None:
    """No error, wherever the obstacle is."""
    obstacle = tmp_path / "file"
    obstacle.write_text("not a directory")
    for directory in (obstacle, obstacle / "kernels", Path("/proc/none/kernels")):
        cache = DiskCache(directory)
        cache.put(KEY, RECORD)
        assert cache.get(KEY) is None
    assert obstacle.read_text() == "not a directory"


def test_a_full_disk_is_no_error(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written whole leaves nothing behind."""
    cache = DiskCache(directory)
    cache.put(KEY, RECORD)

    def refuse(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    cache.put(OTHER, RECORD)
    assert cache.get(OTHER) is None
    assert cache.get(KEY) == RECORD
    assert only_file(directory).stem == KEY.hex()


def test_the_least_recently_used_go_first(directory: Path) -> None:
    """A record that was read stays; what was neither read nor written for longest goes."""
    cache = DiskCache(directory, limit=16 * BLOCK)
    keys = [bytes([number]) * 32 for number in range(17)]
    for number, key in enumerate(keys[:16]):
        cache.put(key, RECORD)
        age(directory / f"{key.hex()}.kernel1", 1000 - number)
    assert cache.get(keys[0]) == RECORD
    # A new object looks through the directory at its first record.
    DiskCache(directory, limit=16 * BLOCK).put(keys[16], RECORD)
    assert cache.get(keys[1]) is None
    assert [key for key in keys if cache.get(key) is not None] == [keys[0], *keys[2:]]


def test_it_stays_bounded(directory: Path) -> None:
    """However much is written, the directory exceeds the limit by a sixteenth at most."""
    limit = 64 * BLOCK
    cache = DiskCache(directory, limit)
    for number in range(300):
        cache.put(number.to_bytes(32, "big"), bytes(BLOCK - 64))
        assert sum(path.stat().st_size for path in directory.iterdir()) <= limit + limit // 16
    assert len(list(directory.iterdir())) >= 32


def test_a_record_too_large_is_not_kept(directory: Path) -> None:
    """One program must not push out all the others."""
    cache = DiskCache(directory, limit=16 * BLOCK)
    cache.put(KEY, RECORD)
    cache.put(OTHER, bytes(BLOCK))
    assert cache.get(OTHER) is None
    assert cache.get(KEY) == RECORD


def test_what_killed_writers_left_is_removed(directory: Path) -> None:
    """Old temporary files go, a writer's of this moment and files of others stay."""
    DiskCache(directory).put(KEY, RECORD)
    old, new, foreign = directory / "a.part", directory / "b.part", directory / "notes.txt"
    for path in (old, new, foreign):
        path.write_bytes(b"half")
    for path in (old, foreign):
        age(path, 7200)
    DiskCache(directory).put(OTHER, RECORD)
    assert not old.exists()
    assert new.exists()
    assert foreign.exists()


def write_and_read(directory: Path, seed: int) -> int:
    """Write records that other processes write as well; return how many were read, each one whole."""
    cache = DiskCache(directory, limit=64 * BLOCK)
    seen = 0
    for turn in range(200):
        number = (turn * 7 + seed) % 40
        key = bytes([number]) * 32
        record = cache.get(key)
        if record is not None:
            # Any writer's record, but all of one: never a mixture.
            assert len(record) == 3000
            assert len(set(record)) == 1
            seen += 1
        cache.put(key, bytes([seed]) * 3000)
    return seen


def test_several_processes_write_at_once(directory: Path) -> None:
    """Each reader sees whole records, also while others replace and prune them."""
    with multiprocessing.get_context("spawn").Pool(WRITERS) as pool:
        seen = pool.starmap(write_and_read, [(directory, seed) for seed in range(WRITERS)])
    assert all(seen)
    assert all(path.suffix == ".kernel1" for path in directory.iterdir())


def test_the_users_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is where the user's other caches are; a user without a home has none."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = DiskCache.of_user()
    assert cache is not None
    cache.put(KEY, RECORD)
    assert only_file(tmp_path / "logv" / "kernels").stem == KEY.hex()
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert DiskCache.of_user() is None
