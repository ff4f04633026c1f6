# FluxStudio in one image: the workers, and the screens that they serve. Built by `docker build -t fluxstudio .`
# What runs is what requirements.lock pins; deploy/requirements.lock is the part of it that FluxStudio needs to run.

FROM node:22-slim AS web
WORKDIR /src/fluxstudio/web
COPY fluxstudio/web/package.json fluxstudio/web/package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
COPY fluxstudio/web ./
RUN npm run build -- --logLevel error

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv /opt/fluxstudio
COPY deploy/requirements.lock deploy/requirements.lock
RUN /opt/fluxstudio/bin/pip install --no-deps --require-hashes -r deploy/requirements.lock
COPY deploy/build.lock deploy/build.lock
RUN pip install --no-deps --require-hashes -r deploy/build.lock
COPY valtier valtier
COPY fluxstudio fluxstudio
COPY --from=web /src/fluxstudio/src/fluxstudio/static fluxstudio/src/fluxstudio/static
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels ./valtier ./fluxstudio \
 && /opt/fluxstudio/bin/pip install --no-deps --no-index /wheels/*.whl \
 && /opt/fluxstudio/bin/python -m compileall -q /opt/fluxstudio/lib \
 && /opt/fluxstudio/bin/pip uninstall -y pip

FROM python:3.13-slim
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/fluxstudio --create-home fluxstudio \
 && install -d -o fluxstudio -g fluxstudio /var/lib/fluxstudio/assets
COPY --from=build /opt/fluxstudio /opt/fluxstudio
ENV PATH=/opt/fluxstudio/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    LOG_JSON=true \
    ASSETS_URL=file:///var/lib/fluxstudio/assets
USER 10001:10001
WORKDIR /var/lib/fluxstudio
VOLUME /var/lib/fluxstudio/assets
EXPOSE 8000
STOPSIGNAL SIGTERM
# Whether it lives; whether to send it requests is what /api/ready says.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/api/health', timeout=2)"]
# One worker a container: what it is given in CPU is its own, and it is restarted alone.
CMD ["fluxstudio", "serve", "--host", "0.0.0.0", "--port", "8000", "--workers", "1"]
