# The example with its worker and server, for docker-compose.yml.
FROM python:3.13-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app

COPY pyproject.toml README.md LICENSE ./
COPY immortus_channels immortus_channels
RUN pip install '.[celery,daphne,example,redis,uvicorn]'

COPY example example
WORKDIR /app/example

# The static files belong to the image; the volume holds what people upload.
RUN DJANGO_DEBUG=0 DJANGO_SECRET_KEY=unused STATIC_ROOT=/app/static python manage.py collectstatic --no-input \
    && useradd --system --no-create-home example \
    && install --directory --owner example /var/lib/example
ENV STATIC_ROOT=/app/static
USER example
VOLUME /var/lib/example
