"""Uploads are kept in the database, chunk by chunk."""

import hashlib
import io
from datetime import timedelta

import pytest
from django.utils.timezone import now

from annotator.importing import uploads
from annotator.models import Upload, UploadChunk
from tests.factories import World

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "CHUNK_BYTES", 10)


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 20, 35])
@pytest.mark.parametrize("piece", [1, 7, 10, 64])
def test_what_comes_out_is_what_went_in(world: World, size: int, piece: int) -> None:
    content = bytes(range(size))
    pieces = (content[i : i + piece] for i in range(0, size, piece))
    upload = uploads.store(world.project, "runs.jsonl", pieces, user=world.admin)
    assert (upload.n_bytes, upload.sha256) == (size, hashlib.sha256(content).hexdigest())
    assert max(len(chunk.data) for chunk in UploadChunk.objects.all()) <= 10
    with uploads.open_upload(upload) as file:
        assert file.read() == content
        assert file.tell() == size
        file.seek(0)
        assert file.read(3) == content[:3]
        file.seek(-1 if size else 0, io.SEEK_END)
        assert file.read() == content[-1:]


def test_a_failed_upload_leaves_nothing(world: World) -> None:
    def broken() -> object:
        yield b"x" * 30
        raise OSError("connection lost")

    with pytest.raises(OSError, match="connection lost"):
        uploads.store(world.project, "runs.jsonl", broken(), user=world.admin)  # type: ignore[arg-type]
    assert not Upload.objects.exists()


def test_a_long_name_is_shortened(world: World) -> None:
    assert len(uploads.store(world.project, "x" * 300, [b"{}"], user=world.admin).name) == 255


def test_old_uploads_are_deleted_with_their_chunks(world: World) -> None:
    old, new = (uploads.store(world.project, name, [b"x" * 25], user=world.admin) for name in ("old", "new"))
    Upload.objects.filter(pk=old.pk).update(created_at=now() - timedelta(days=8))
    assert uploads.delete_old() == 1
    assert Upload.objects.get() == new
    assert UploadChunk.objects.count() == 3
