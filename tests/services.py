"""A pytest plugin (see addopts) that starts PostgreSQL before Django reads its settings.

It is a plugin and not part of conftest.py because pytest-django loads the settings before any conftest. The workers of
pytest-xdist inherit the address from the environment and make their own databases on the same server.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from annotator import embedded

# Tests run side by side: one that computes with every core slows itself and the others down. Children inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

if "STEPMARK_TEST_HOME" not in os.environ:
    _home = Path(tempfile.mkdtemp(prefix="stepmark-test-"))
    atexit.register(shutil.rmtree, _home, ignore_errors=True)  # runs after the server has stopped
    os.environ["STEPMARK_TEST_HOME"] = os.environ["STEPMARK_HOME"] = str(_home)
    (_home / "static").mkdir()  # where collectstatic would put things; its absence is a warning per request
    os.environ["DATABASE_URL"] = embedded.start_postgres(_home, fast=True)
    os.environ["SECRET_KEY"] = "for tests only"
    # Nothing listens there: a test that needs Redis starts one (the `redis_url` fixture).
    os.environ["REDIS_URL"] = "redis://127.0.0.1:1/0"
