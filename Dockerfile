# One image for every process of ours. `serve` runs the plant; `train` adds what training needs (torch).
#
#   docker build --target serve -t clinstream:0.2 .

FROM python:3.11-slim AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/clinstream
ENV PATH=/opt/clinstream/bin:$PATH
COPY requirements/serve.lock /tmp/requirements/serve.lock
RUN pip install --require-hashes --requirement /tmp/requirements/serve.lock

FROM packages AS packages-train
COPY requirements/train.lock /tmp/requirements/train.lock
RUN pip install --require-hashes --requirement /tmp/requirements/train.lock

FROM python:3.11-slim AS bare
# The account owns nothing but its state: the code it runs it cannot change.
RUN groupadd --gid 10001 clinstream \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/clinstream --shell /usr/sbin/nologin clinstream \
    && install -d -o clinstream -g clinstream -m 0711 /var/lib/clinstream /models
WORKDIR /srv/clinstream
COPY schemas schemas
COPY adapters adapters
COPY triton_models triton_models
COPY producers producers
COPY consumers consumers
COPY training training
COPY clinstream clinstream
COPY requirements requirements
COPY docker-compose.yml LICENSE ./
ENV PATH=/opt/clinstream/bin:$PATH PYTHONPATH=/srv/clinstream PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
CMD ["python", "-m", "clinstream", "--help"]

FROM bare AS train
COPY --from=packages-train /opt/clinstream /opt/clinstream

# Last, so that it is what a build without a target makes.
FROM bare AS serve
COPY --from=packages /opt/clinstream /opt/clinstream
