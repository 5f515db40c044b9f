"""Compiled kernels of this user on disk, so that the next process need not compile them again."""

import hashlib
import os
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

import platformdirs

# Stands in each file's name: files of another layout are never opened.
_SUFFIX = ".kernel1"
_TEMPORARY = ".part"
_DIGEST_BYTES = 32
_BLOCK = 4096
# A writer takes milliseconds; what is older was left by one that was killed.
_ABANDONED_S = 3600
# Threat: a guest that launches endless programs must not fill the disk, nor one program the cache.
DEFAULT_LIMIT = 64 << 20
_LARGEST_SHARE = 16


class DiskCache:
    """Records by key in a directory that only its owner can reach; one file each.

    A file is the SHA-256 digest of the rest, the key, and the record. It is written under another name and
    then renamed, so readers and other writers see all of it or nothing. What is damaged, or is not a file
    of this user alone, counts as missing. Where the directory cannot be used there is no cache; that is
    never an error.

    Parameters
    ----------
    directory : Path
        Made at the first record, with mode 0700.
    limit : int
        Bytes kept, in blocks of 4 KiB; beyond it, what was used longest ago goes. It may be exceeded by a
        sixteenth for each process that writes at the same time; no record may be larger than that.
    """

    def __init__(self, directory: Path, limit: int = DEFAULT_LIMIT) -> None:
        self._directory = directory
        self._limit = limit
        # Written since the directory was last looked through; before the first record, nobody knows.
        self._unseen = limit

    @classmethod
    def of_user(cls) -> Self | None:
        """Return the cache in this user's cache directory; None for a user without one."""
        try:
            directory = Path(platformdirs.user_cache_dir("logv"))
        except RuntimeError:
            return None
        # Older versions of platformdirs return "~/.cache/logv" where there is no home.
        return cls(directory / "kernels") if directory.is_absolute() else None

    def get(self, key: bytes) -> bytes | None:
        """Return the record stored under a key (32 bytes), or None."""
        try:
            if not _is_private(os.lstat(self._directory), stat.S_IFDIR):
                return None
            data = self._read(self._path(key))
        except OSError:
            return None
        digest, body = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        # The key is in the file as well: a file under another's name is not taken for it.
        if hashlib.sha256(body).digest() != digest or not body.startswith(key):
            return None
        return body[len(key) :]

    def put(self, key: bytes, record: bytes) -> None:
        """Store a record, in the place of one that is there; do nothing if that is not possible."""
        body = key + record
        data = hashlib.sha256(body).digest() + body
        if len(data) > self._largest:
            return
        with suppress(OSError):
            self._directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._directory.mkdir(mode=0o700, exist_ok=True)
            if not _is_private(os.lstat(self._directory), stat.S_IFDIR):
                return
            self._write(key, data)
            self._unseen += _space(len(data))
            if self._unseen > self._limit // _LARGEST_SHARE:
                self._prune()

    @property
    def _largest(self) -> int:
        return self._limit // _LARGEST_SHARE

    def _path(self, key: bytes) -> Path:
        return self._directory / f"{key.hex()}{_SUFFIX}"

    def _read(self, path: Path) -> bytes:
        # Neither a link is followed, nor does a pipe block.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not _is_private(status, stat.S_IFREG) or status.st_size > self._largest:
                return b""
            with suppress(OSError):
                os.utime(descriptor)  # marks it as used now
            with open(descriptor, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(descriptor)

    def _write(self, key: bytes, data: bytes) -> None:
        descriptor, name = tempfile.mkstemp(_TEMPORARY, dir=self._directory)  # with mode 0600
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
            os.replace(name, self._path(key))
        except BaseException:
            os.unlink(name)
            raise

    def _prune(self) -> None:
        """Delete what was used longest ago, and what killed writers left, until the rest fits."""
        files = []
        for entry in os.scandir(self._directory):
            # Another process may delete the same files.
            with suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if entry.name.endswith(_SUFFIX):
                    files.append((status.st_mtime_ns, _space(status.st_size), entry.path))
                elif entry.name.endswith(_TEMPORARY) and time.time() - status.st_mtime > _ABANDONED_S:
                    os.unlink(entry.path)
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._limit:
                break
            with suppress(FileNotFoundError):
                os.unlink(path)
            total -= size
        self._unseen = 0


def _space(size: int) -> int:
    """Return what a file takes on disk."""
    return -(-size // _BLOCK) * _BLOCK


def _is_private(status: os.stat_result, kind: int) -> bool:
    """Whether something is of a kind, belongs to this user, and is closed to everybody else."""
    return (
        stat.S_IFMT(status.st_mode) == kind
        and status.st_uid == os.geteuid()
        and not stat.S_IMODE(status.st_mode) & 0o077
    )
