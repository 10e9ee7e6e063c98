"""Fixtures that more than one folder of tests needs."""

from pathlib import Path

import pytest
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
