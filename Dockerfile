# Two images from one file:
#   web      serves the pages and the API and does the background work of the queue `default`; has no torch
#   worker   the same with torch, for the queue `gpu`
# docs/deployment.md says how to use them; docker-compose.yml does.

FROM python:3.13-slim AS base
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    STEPMARK_HOME=/var/lib/stepmark
WORKDIR /app
RUN useradd --uid 10001 --no-create-home --home-dir /tmp stepmark && install -d -o stepmark -g stepmark "$STEPMARK_HOME"

# The packages that pyproject.toml names, in the versions of constraints.txt. A change of the code alone does not
# install them again.
FROM base AS web-packages
RUN python -m venv /opt/venv
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
        > web.txt \
    && pip install --no-cache-dir --disable-pip-version-check -c constraints.txt -r web.txt

FROM web-packages AS worker-packages
# For machines without an NVIDIA GPU: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG TORCH_INDEX=https://pypi.org/simple
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['worker'], sep='\n')" \
        > worker.txt \
    && pip install --no-cache-dir --disable-pip-version-check -c constraints.txt \
        --index-url "$TORCH_INDEX" --extra-index-url https://pypi.org/simple -r worker.txt

FROM base AS web
COPY --from=web-packages /opt/venv /opt/venv
COPY . .
USER stepmark
# The key is for this step alone: nothing is signed here, and the running container gets its own.
RUN SECRET_KEY=build DATABASE_URL=postgresql://nowhere/none python manage.py collectstatic --no-input
EXPOSE 8000
CMD ["gunicorn", "annotator.wsgi:application", "--bind", "0.0.0.0:8000", "--workers", "4", "--threads", "8", \
     "--worker-class", "gthread", "--timeout", "120", "--graceful-timeout", "20", "--worker-tmp-dir", "/dev/shm", \
     "--no-control-socket"]

FROM base AS worker
COPY --from=worker-packages /opt/venv /opt/venv
COPY . .
USER stepmark
CMD ["celery", "-A", "annotator.celery", "worker", "-Q", "gpu", "--concurrency", "1", "--loglevel", "INFO"]
