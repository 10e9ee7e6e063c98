"""Fixtures that more than one folder of tests needs."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from django.core.management.color import Style
from django.db.backends.postgresql.operations import DatabaseOperations
from pytest_django.fixtures import Settings

from tests.factories import World, make_world

# Real data lies beside the checkout on the project's own machines, and nowhere else.
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _plain_static_files(settings: Settings) -> None:
    """Without collectstatic there is no manifest of hashed names; and test passwords need no slow hash."""
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip("the real trajectories (shared/data beside the checkout) are not on this machine")
    return SHARED_DATA


@pytest.fixture
def world(db: None) -> World:
    """A project with two annotators, a reviewer and an admin, and a person who has no part in it."""
    return make_world()


TOO_MANY_DEAD_ROWS = 8 * 1024**2  # bytes of all tables
truncate_all = DatabaseOperations.sql_flush


def empty_tables(ops: DatabaseOperations, style: Style, tables: Sequence[str], **options: bool) -> list[str]:
    """What Django runs after each test that commits. TRUNCATE takes 0.2 s for our tables, however little they hold.

    Deleted rows stay in their files, for nothing vacuums them here; so now and then it is TRUNCATE after all.
    """
    with ops.connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, pg_relation_size(oid) FROM pg_class WHERE relkind = 'r' AND relname = ANY(%s)",
            [list(tables)],
        )
        sizes = dict(cursor.fetchall())
    if sum(sizes.values()) > TOO_MANY_DEAD_ROWS:
        return list(truncate_all(ops, style, tables, **options))
    # As a replica takes changes: without triggers, which protect rows, and without looking for what refers to them.
    deletes = [f'DELETE FROM "{table}"' for table, size in sizes.items() if size]
    return ["SET LOCAL session_replication_role = replica", *deletes]


@pytest.fixture(scope="session", autouse=True)
def _emptied_fast() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseOperations, "sql_flush", empty_tables)
        yield
