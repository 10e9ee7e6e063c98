"""One archive with every row: written from one snapshot, verified, and put back in one transaction.

The archive is a zip file that any tool opens: `tables/NAME.copy` in PostgreSQL's COPY text form (which every later
version of PostgreSQL reads) and `manifest.json`. The last 64 characters of the file are the SHA-256 of all bytes before
them, as the zip's comment: no changed byte goes unnoticed, not even one that a zip reader would skip.

Nothing but psycopg is needed, so it works with any server and without pg_dump.
"""

import errno
import fcntl
import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import psycopg
from django.db import connection, transaction
from django.db.migrations.recorder import MigrationRecorder
from django.utils.timezone import now
from psycopg import sql
from pydantic import BaseModel, ConfigDict, ValidationError

from annotator.errors import DomainError
from annotator.version import app_version

FORMAT = 1
MANIFEST = "manifest.json"
DIGEST_LENGTH = 64
PIECE_BYTES = 1024 * 1024
# Sessions are left out, and a restore ends them: everybody signs in again, so that no page that was open before goes on
# writing into what is there afterwards. API tokens are kept; like passwords they are stored as hashes only.
LEFT_OUT = {"django_session"}
# How long a restore waits for others to finish what they do.
LOCK_TIMEOUT = "10s"


class BackupRefused(DomainError):
    """The archive, or the database that it should go into, is not fit for it; nothing was changed."""

    code = "backup.refused"


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid")

    columns: list[str]
    n_rows: int
    sha256: str


class Manifest(BaseModel):
    """What is in the archive."""

    model_config = ConfigDict(extra="forbid")

    format: int
    app_version: str
    made_at: str
    migrations: list[str]
    tables: dict[str, Table]
    sequences: dict[str, int]

    @property
    def n_rows(self) -> int:
        return sum(table.n_rows for table in self.tables.values())


class _Column(NamedTuple):
    table: str
    name: str
    sequence: str | None


# Writing


def write(path: Path) -> Manifest:
    """Writes every row as it is at this moment, while others go on working, and reads the file again to verify it.

    Under its name the file appears only when it is whole, verified and on the disk. Raises FileExistsError, or
    BackupRefused while another backup writes to the same file.
    """
    part = path.with_name(f"{path.name}.part")
    with _alone(part, path) as file:
        try:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
                with transaction.atomic(durable=True):
                    manifest = _write_tables(archive)
                archive.writestr(MANIFEST, manifest.model_dump_json(indent=1))
                archive.comment = b"0" * DIGEST_LENGTH
            digest = _digest(file)
            file.seek(-DIGEST_LENGTH, os.SEEK_END)
            file.write(digest)
            file.flush()
            os.fsync(file.fileno())
            if verify(part) != manifest:
                raise BackupRefused(
                    f"{path} was not written: what was read back differs from what was sent to the disk."
                )
            part.rename(path)
        finally:
            part.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return manifest


@contextmanager
def _alone(part: Path, path: Path) -> Iterator[IO[bytes]]:
    """The empty file to write to, locked: what a backup that was killed has left there is no lock."""
    with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupRefused(f"Another backup to {path} is running. Wait for it, or choose another name.") from None
        if path.exists():  # asked under the lock: the other backup may have finished just now, with this very file
            if not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                part.unlink(missing_ok=True)
            raise FileExistsError(errno.EEXIST, "there is a file of this name already", str(path))
        file.truncate(0)
        yield file


def _write_tables(archive: zipfile.ZipFile) -> Manifest:
    _execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    tables = {}
    columns = _columns()
    for name in sorted({column.table for column in columns} - LEFT_OUT):
        names = [column.name for column in columns if column.table == name]
        digest, n_rows = hashlib.sha256(), 0
        query = sql.SQL("COPY {} ({}) TO STDOUT").format(sql.Identifier(name), _listed(names))
        with archive.open(_member(name), "w", force_zip64=True) as member, _text_form().copy(query) as rows:
            for piece in rows:
                digest.update(piece)
                n_rows += bytes(piece).count(b"\n")  # COPY's text form writes a line break inside a value as \n
                member.write(piece)
        tables[name] = Table(columns=names, n_rows=n_rows, sha256=digest.hexdigest())
    # Sequences are no part of the snapshot: read after the rows, they are at least as far. Their values are kept, and
    # not made from the rows, so that the id of a deleted row, which the audit trail may name, is never given again.
    sequences = {}
    for column in columns:
        if column.sequence and column.table in tables:
            statement = sql.SQL("SELECT last_value - (NOT is_called)::int FROM {}")
            ((value,),) = _execute(statement.format(_qualified(column.sequence)))
            sequences[column.table] = value
    return Manifest(
        format=FORMAT,
        app_version=app_version(),
        made_at=now().isoformat(timespec="seconds"),
        migrations=_migrations(),
        tables=tables,
        sequences=sequences,
    )


# Reading


def verify(path: Path) -> Manifest:
    """Reads the whole archive and returns what it holds. Raises BackupRefused if a single byte is not as written."""
    with path.open("rb") as file:
        digest = _digest(file)
        if file.read() != digest:
            raise BackupRefused(
                f"{path} is damaged, cut short or not a backup: its content does not have the checksum that stands at "
                "its end. Nothing was changed. Use another copy of it."
            )
        with _open(path, file) as archive:
            manifest = _read_manifest(path, archive)
            for name, table in manifest.tables.items():
                sha256, n_rows = hashlib.sha256(), 0
                for piece in _pieces(archive, name):
                    sha256.update(piece)
                    n_rows += piece.count(b"\n")
                if (sha256.hexdigest(), n_rows) != (table.sha256, table.n_rows):
                    raise BackupRefused(f"{path} is not sound: table {name} is not as the manifest says.")
    return manifest


def restore(path: Path, *, replaces: bool = False) -> Manifest:
    """Puts back every row in one transaction: afterwards all of it is there, or nothing was changed.

    The triggers that guard final rows rest meanwhile; foreign keys and all other constraints are checked as ever.
    Raises BackupRefused for a damaged archive, one of other migrations, a database that others use, or one that has
    users or projects unless `replaces`.
    """
    manifest = verify(path)
    _refuse_other_migrations(path, manifest)
    with path.open("rb") as file, _open(path, file) as archive, transaction.atomic(durable=True):
        _execute(sql.SQL("SET LOCAL lock_timeout = {}").format(LOCK_TIMEOUT))
        _refuse_company()
        if not replaces:
            _refuse_full_database()
        everything = sorted({column.table for column in _columns()})
        _execute(sql.SQL("TRUNCATE {}").format(_listed(everything)))  # locks out everybody until the commit
        for name in manifest.tables:
            _execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER USER").format(sql.Identifier(name)))
        for name, table in manifest.tables.items():
            query = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(name), _listed(table.columns))
            with _text_form().copy(query) as rows:
                for piece in _pieces(archive, name):
                    rows.write(piece)
        _execute("SET CONSTRAINTS ALL IMMEDIATE")  # the foreign keys; an error here undoes everything
        for name in manifest.tables:
            _execute(sql.SQL("ALTER TABLE {} ENABLE TRIGGER USER").format(sql.Identifier(name)))
        for column in _columns():
            if column.sequence and column.table in manifest.sequences:
                value = manifest.sequences[column.table]
                _execute(sql.SQL("SELECT setval({}, {}, {})").format(column.sequence, max(value, 1), value > 0))
    _execute("ANALYZE")
    return manifest


@contextmanager
def _open(path: Path, file: IO[bytes]) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except (zipfile.BadZipFile, KeyError) as error:
        raise BackupRefused(f"{path} is not a backup of Stepmark ({error}).") from error


def _read_manifest(path: Path, archive: zipfile.ZipFile) -> Manifest:
    try:
        content = json.loads(archive.read(MANIFEST))
        made_by = content["format"]
        if made_by != FORMAT:
            raise BackupRefused(f"{path} has format {made_by}; this version of Stepmark reads format {FORMAT}.")
        manifest = Manifest.model_validate(content)
    except (ValueError, TypeError, ValidationError) as error:
        raise BackupRefused(f"{path} is not a backup of Stepmark: its manifest cannot be read ({error}).") from error
    if set(archive.namelist()) != {MANIFEST, *map(_member, manifest.tables)}:
        raise BackupRefused(f"{path} is not sound: it does not have the tables that its manifest names.")
    return manifest


def _pieces(archive: zipfile.ZipFile, table: str) -> Iterator[bytes]:
    with archive.open(_member(table)) as member:
        while piece := member.read(PIECE_BYTES):
            yield piece


# What a restore refuses


def _refuse_other_migrations(path: Path, manifest: Manifest) -> None:
    theirs, ours = set(manifest.migrations), set(_migrations())
    if theirs == ours:
        return
    said = []
    if theirs - ours:
        said.append(f"the archive has {', '.join(sorted(theirs - ours))}, which this database lacks")
    if ours - theirs:
        said.append(f"this database has {', '.join(sorted(ours - theirs))}, which the archive lacks")
    raise BackupRefused(
        f"{path} was made by Stepmark {manifest.app_version} with other migrations: {'; '.join(said)}. Nothing was "
        "changed. Restore it with the version that made it, then upgrade."
    )


def _refuse_company() -> None:
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    ((n_others,),) = _execute(query)
    if n_others:
        plural = "s use" if n_others > 1 else " uses"
        raise BackupRefused(
            f"{n_others} other connection{plural} this database. Stop web, worker and beat first (Ctrl-C where "
            "`make run` runs). Nothing was changed."
        )


def _refuse_full_database() -> None:
    counts = []
    for table, noun in (("annotator_user", "users"), ("annotator_project", "projects")):
        ((count,),) = _execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))
        counts.append(f"{count} {noun}" if count else "")
    if any(counts):
        raise BackupRefused(
            f"This database is not empty: it has {' and '.join(filter(None, counts))}. Nothing was changed. "
            "With --force all of it is deleted and replaced by the archive."
        )


# The database


def _columns() -> list[_Column]:
    """Every column of every table of ours, in order, with the sequence that numbers it."""
    query = (
        "SELECT c.relname, a.attname, pg_get_serial_sequence(quote_ident(c.relname), a.attname)"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace"
        " AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY c.relname, a.attnum"
    )
    ours = set(connection.introspection.django_table_names(only_existing=True, include_views=False))
    return [column for column in (_Column(*row) for row in _execute(query)) if column.table in ours]


def _migrations() -> list[str]:
    applied = sorted(f"{app}.{name}" for app, name in MigrationRecorder(connection).applied_migrations())
    if not applied:
        raise BackupRefused("The database has no tables yet. Run `manage.py migrate` first.")
    return applied


def _text_form() -> psycopg.Cursor[tuple[object, ...]]:
    """A cursor whose COPY writes and reads the same text whatever the server and the role are set to."""
    _execute("SET LOCAL client_encoding = 'UTF8'; SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL extra_float_digits = 1;")
    _execute("SET LOCAL intervalstyle = 'postgres'; SET LOCAL bytea_output = 'hex'; SET LOCAL timezone = 'UTC'")
    driver: psycopg.Connection[tuple[object, ...]] = connection.connection
    return driver.cursor()


def _execute(statement: str | sql.Composable) -> list[tuple]:  # type: ignore[type-arg]  # whatever the query selects
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def _listed(names: list[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _qualified(sequence: str) -> sql.SQL:
    return sql.SQL(sequence)  # as PostgreSQL spelled and quoted it


# The file


def _member(table: str) -> str:
    return f"tables/{table}.copy"


def _digest(file: IO[bytes]) -> bytes:
    """The checksum of all but the last characters, where it stands itself; leaves the file there."""
    left = file.seek(0, os.SEEK_END) - DIGEST_LENGTH
    file.seek(0)
    sha256 = hashlib.sha256()
    while left > 0:
        piece = file.read(min(left, PIECE_BYTES))
        sha256.update(piece)
        left -= len(piece)
    return sha256.hexdigest().encode()
