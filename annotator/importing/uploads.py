"""Uploaded files, kept in PostgreSQL in chunks until their import is done."""

import hashlib
from collections.abc import Iterable
from datetime import timedelta
from math import ceil
from tempfile import TemporaryFile
from typing import BinaryIO, cast

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


def open_upload(upload: Upload) -> BinaryIO:
    """The upload as a temporary file, which another thread may read: a connection to PostgreSQL is one thread's."""
    file = cast(BinaryIO, TemporaryFile())  # noqa: SIM115  # whoever asked for it closes it
    for index in range(ceil(upload.n_bytes / CHUNK_BYTES)):
        file.write(upload.chunks.get(index=index).data)
    file.seek(0)
    return file


def delete_old() -> int:
    """Deletes uploads older than a week (checked, but never imported); returns how many."""
    old = Upload.objects.filter(created_at__lt=now() - KEPT_FOR)
    return old.delete()[1].get("annotator.Upload", 0)
