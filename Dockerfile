# The image of the service: built from poetry.lock; runs without root, package managers or secrets.
#
#   docker build -t favorites .                       the service: serve, worker, migrate, ...
#   docker build -t fakestore --target fakestore .    the local Fake Store, for development
#
# Behind a private index or proxy: --secret id=pip.conf,src=$HOME/.config/pip/pip.conf

FROM python:3.13-slim AS requirements
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
# The same versions as in development/install.py.
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python -m venv /opt/poetry \
    && /opt/poetry/bin/pip install --quiet poetry==2.5.1 poetry-plugin-export==1.10.1
WORKDIR /build
COPY pyproject.toml poetry.lock ./
RUN /opt/poetry/bin/poetry export --only main --output requirements.txt


FROM python:3.13-slim AS venv
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv --without-pip /opt/venv
COPY --from=requirements /build/requirements.txt /build/
# Wheels only, so that no code of a dependency runs during the build. pip compiles the bytecode.
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip --python /opt/venv/bin/python install --quiet \
        --require-hashes --only-binary=:all: --requirement /build/requirements.txt


FROM python:3.13-slim AS runtime
# No package manager in the image: nothing is installed after this.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin favorites \
    && python -m pip uninstall --yes --quiet --root-user-action=ignore pip \
    && rm -r "$(python -c 'import ensurepip, os; print(os.path.dirname(ensurepip.__file__))')"
# Bytecode is compiled during the build, because the root file system should be mounted read-only.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
COPY --from=venv /opt/venv /opt/venv
WORKDIR /srv


FROM runtime AS fakestore
COPY development/__init__.py development/
COPY development/fakestore development/fakestore
RUN python -m compileall -q development
USER 10001:10001
EXPOSE 8081
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8081/products/1', timeout=2)"]
ENTRYPOINT ["python", "-m", "development.fakestore"]
CMD ["--host", "0.0.0.0", "--port", "8081"]


FROM runtime AS service
COPY app app
RUN python -m compileall -q app
ENV ENVIRONMENT=production \
    HOST=0.0.0.0 \
    PORT=8080
USER 10001:10001
EXPOSE 8080
# Liveness, not readiness: a container must not be replaced because the database is unavailable.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ['PORT']}/health/live\", timeout=2)"]
ENTRYPOINT ["python", "-m", "app"]
CMD ["serve"]
