"""Uploaded files, kept in PostgreSQL in chunks until their import is done."""

import hashlib
import io
from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.utils.timezone import now

from annotator.models import Project, Upload, UploadChunk, User

CHUNK_BYTES = 1024 * 1024
KEPT_FOR = timedelta(days=7)


@transaction.atomic
def store(project: Project, name: str, pieces: Iterable[bytes], *, user: User) -> Upload:
    """Stores a file piece by piece; memory holds one chunk at a time."""
    upload = Upload.objects.create(project=project, name=name[:255], created_by=user)
    digest = hashlib.sha256()
    n_chunks, buffer = 0, bytearray()
    for piece in pieces:
        digest.update(piece)
        buffer += piece
        while len(buffer) >= CHUNK_BYTES:
            UploadChunk.objects.create(upload=upload, index=n_chunks, data=bytes(buffer[:CHUNK_BYTES]))
            upload.n_bytes += CHUNK_BYTES
            del buffer[:CHUNK_BYTES]
            n_chunks += 1
    UploadChunk.objects.create(upload=upload, index=n_chunks, data=bytes(buffer))
    upload.n_bytes += len(buffer)
    upload.sha256 = digest.hexdigest()
    upload.save(update_fields=["n_bytes", "sha256"])
    return upload


class _Chunks(io.RawIOBase):
    """Reads an upload from the database, one chunk per query."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._position = 0
        self._loaded: tuple[int, bytes] = (-1, b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._upload.n_bytes}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer is wider than what comes
        index, offset = divmod(self._position, CHUNK_BYTES)
        if self._loaded[0] != index:
            data = self._upload.chunks.filter(index=index).values_list("data", flat=True).first()
            self._loaded = (index, bytes(data or b""))
        piece = self._loaded[1][offset : offset + len(buffer)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)


def open_upload(upload: Upload) -> io.BufferedReader:
    """The upload as a binary file."""
    return io.BufferedReader(_Chunks(upload), buffer_size=CHUNK_BYTES)


def delete_old() -> int:
    """Deletes uploads older than a week (checked, but never imported); returns how many."""
    old = Upload.objects.filter(created_at__lt=now() - KEPT_FOR)
    return old.delete()[1].get("annotator.Upload", 0)
