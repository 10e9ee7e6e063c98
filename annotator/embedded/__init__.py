"""PostgreSQL and Redis for one machine with nothing installed, from wheels; no Django in here.

Everything lives in one folder, `home` (STEPMARK_HOME).
"""

from annotator.embedded.home import EmbeddedError, is_running, secret_key, stop_process
from annotator.embedded.postgres import lock_descriptors, running_postgres, start_postgres, stop_postgres
from annotator.embedded.redis import RedisServer, running_redis, start_redis

__all__ = [
    "EmbeddedError",
    "RedisServer",
    "is_running",
    "lock_descriptors",
    "running_postgres",
    "running_redis",
    "secret_key",
    "start_postgres",
    "start_redis",
    "stop_postgres",
    "stop_process",
]
