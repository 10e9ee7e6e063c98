"""Settings of Stepmark, read from the environment; docs/configuration.md describes every variable."""

from datetime import timedelta
from pathlib import Path

import environ
from django.contrib.messages import ERROR, SUCCESS, WARNING

env = environ.Env()

BASE_DIR = Path(__file__).resolve().parent.parent

# Where this machine keeps what is not in PostgreSQL: the embedded servers' data, logs, the secret key.
STEPMARK_HOME = Path(env.str("STEPMARK_HOME", default=str(BASE_DIR / "var"))).resolve()

# The operator's model files, and below checkpoints/NAME/ the weights that this machine has.
MODELS_FOLDER = Path(env.str("MODELS_FOLDER", default=str(STEPMARK_HOME / "models"))).resolve()
# How many GPU workers are told of a pre-label run; those that exist share it.
PRELABEL_WORKERS = env.int("PRELABEL_WORKERS", default=4)

DEBUG = env.bool("DEBUG", default=False)
# Without a key nothing is signed: manage.py and run_stack set one, so only a bare import (mypy, linters) sees "".
SECRET_KEY = env.str("SECRET_KEY", default="")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "annotator",
    "pgtrigger",
    "knox",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "template_partials",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    # Before the check of the token: somebody who is signed out has to sign in, whatever became of their cookies.
    "annotator.http.SignedInMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "annotator.http.DomainErrorMiddleware",
    "annotator.http.SameAccountMiddleware",
]

ROOT_URLCONF = "annotator.urls"
WSGI_APPLICATION = "annotator.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "builtins": ["annotator.templatetags.stepmark"],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# One engine everywhere. The default names a local server; manage.py puts the embedded one here when nothing is set.
DATABASES = {"default": env.db("DATABASE_URL", default="postgresql://localhost/stepmark")}
DATABASES["default"]["ENGINE"] = "annotator.postgresql"
# Only annotator.postgresql prepares statements, and only those that ask for it.
DATABASES["default"].setdefault("OPTIONS", {})["prepare_threshold"] = 0
DATABASES["default"]["CONN_MAX_AGE"] = 60
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "annotator.User"
AUTHENTICATION_BACKENDS = ["annotator.identity.Backend"]
SESSION_ENGINE = "annotator.identity"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "project-list"
LOGOUT_REDIRECT_URL = "login"
MESSAGE_TAGS = {ERROR: "bad", SUCCESS: "good", WARNING: "warn"}  # the classes of notices in stepmark.css

LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = STEPMARK_HOME / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# Uploads are streamed to PostgreSQL in chunks; a labelling form has one field per step and extra.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 20_000
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024

# Security headers. HTTPS settings follow HTTPS=true because one machine without a proxy has no certificate.
HTTPS = env.bool("HTTPS", default=False)
SECURE_SSL_REDIRECT = HTTPS
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
# With subdomains: over plain HTTP one of them could plant cookies here. Whether the domain enters the browsers' preload
# list (W021) is for its owner to decide, not for one program on it.
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SILENCED_SYSTEM_CHECKS = ["security.W021"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
# How many proxies stand in front: the last so many addresses of X-Forwarded-For can be believed, and no other.
PROXIES = env.int("PROXIES", default=1 if HTTPS else 0)
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        # Image parts of a trajectory come as data: URLs; a remote image would tell its host who labels what, and when.
        "img-src": ["'self'", "data:"],
        "frame-ancestors": ["'none'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "object-src": ["'none'"],
    }
}

REDIS_URL = env.str("REDIS_URL", default="redis://127.0.0.1:6379/0")

# Celery carries ids only; what a person sees of background work is the Job row, so results are not kept.
CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1)
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ACKS_LATE = True
# Redis redelivers what is not acknowledged in this time: longer than the longest task (a second start is harmless).
# The others: a web request that cannot reach Redis goes on at once instead of after kombu's six seconds.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 6 * 3600,
    "max_retries": 1,
    "interval_start": 0.1,
    "socket_connect_timeout": 2,
}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A web request that cannot reach Redis must not hang: the beat finds the queued Job again (workers.tasks.recover_jobs).
CELERY_TASK_PUBLISH_RETRY = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"
# When a running job without a sign of life counts as abandoned, and how often the beat looks for lost jobs.
JOB_STALLED_SECONDS = env.int("JOB_STALLED_SECONDS", default=300)
JOB_RESEND_SECONDS = env.int("JOB_RESEND_SECONDS", default=30)
CELERY_BEAT_SCHEDULE = {
    "expire-claims": {"task": "workers.tasks.expire_claims", "schedule": timedelta(minutes=1)},
    "recover-jobs": {"task": "workers.tasks.recover_jobs", "schedule": timedelta(seconds=JOB_RESEND_SECONDS)},
    "train-due-scorers": {"task": "workers.tasks.train_due_scorers", "schedule": timedelta(minutes=1)},
    "start-due-rounds": {"task": "workers.tasks.start_due_rounds", "schedule": timedelta(minutes=1)},
    "delete-old-uploads": {"task": "workers.tasks.delete_old_uploads", "schedule": timedelta(days=1)},
    "forget-expired": {"task": "workers.tasks.forget_expired", "schedule": timedelta(days=1)},
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "annotator.api.authentication.BearerAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "annotator.api.errors.exception_handler",
    # `?format=` names an export format here, never a renderer.
    "URL_FORMAT_OVERRIDE": None,
}
REST_KNOX = {
    "TOKEN_TTL": timedelta(days=env.int("API_TOKEN_DAYS", default=90)),
    "TOKEN_LIMIT_PER_USER": None,
    "AUTO_REFRESH": False,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Stepmark API",
    "DESCRIPTION": "Push trajectories, label steps, pull agreement, disputes and releases.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    # 3.0 cannot say what pydantic's JSON schemas say.
    "OAS_VERSION": "3.1.1",
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "ENUM_NAME_OVERRIDES": {
        "JobStatus": "annotator.models.Job.Status",
        "AssignmentStatus": "annotator.models.Assignment.Status",
        "DisputeStatus": ["open", "decided"],
        "HintArm": "annotator.models.Assignment.HintArm",
        "ModelKind": "annotator.models.ModelVersion.Kind",
        "DisputeWants": ["blind", "open", "other"],
        "WithoutValue": ["mask", "leave_out"],
        "JobKind": "annotator.models.Job.Kind",
        "RatersAgainst": ["gold", "reference"],
        "ReliabilityAgainst": ["gold", "posterior"],
    },
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", default="INFO")},
}
