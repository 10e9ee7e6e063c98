"""Which Stepmark this is, for whatever has to say what made it."""

import tomllib

from django.conf import settings


def app_version() -> str:
    """As the checkout says; the package need not be installed."""
    with (settings.BASE_DIR / "pyproject.toml").open("rb") as file:
        version: str = tomllib.load(file)["project"]["version"]
    return version
