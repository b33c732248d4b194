# The image that a SageMaker multi-model endpoint runs (docs/image.md).
#
#   tools        pip, setuptools, strip
#   libraries    what the locks say, in a folder of its own    changes with requirements/
#   runtime      Python, and those libraries, Java among them
#   java-cache   Java's classes, linked once                    changes with container/mms
#   code         Medley itself                                  changes with every commit, and is small
ARG PYTHON=3.12
FROM python:${PYTHON}-slim-bookworm AS tools
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY requirements/build.lock requirements/
RUN python -m venv /tools && /tools/bin/pip install --no-cache-dir --require-hashes -r requirements/build.lock

FROM tools AS libraries
# Names of requirements/image: xgboost sklearn lightgbm catboost onnx skops parquet; and torch, whose CPU build is not on
# PyPI (--build-arg PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS says where it is).
ARG FRAMEWORKS="xgboost sklearn"
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
COPY requirements/image/ requirements/image/
COPY requirements/torch.txt requirements/
COPY --chmod=755 requirements/install.sh requirements/
RUN requirements/install.sh /tools/bin/python /libraries ${FRAMEWORKS}

FROM python:${PYTHON}-slim-bookworm AS runtime
# What LightGBM asks of the system; the others bring their own.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
COPY --from=libraries /libraries/ /usr/local/
RUN echo /opt/medley > "$(python -c 'import site; print(site.getsitepackages()[0])')/medley.pth" \
 && mkdir -p /opt/ml/model /opt/ml/models

FROM runtime AS java-cache
WORKDIR /code
COPY container/__init__.py container/settings.py container/
COPY container/mms/ container/mms/
RUN python -m container.mms.aot /cache/multi-model-server.aot

FROM tools AS code
COPY pyproject.toml README.md LICENSE medley.py ./
COPY container/ container/
COPY pipeline/ pipeline/
COPY serving/ serving/
RUN /tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /tools/bin/pip install --no-cache-dir --no-index --no-deps --target /code /wheels/*.whl \
 && rm -r /code/pipeline /code/medley.py /code/bin /code/__pycache__

FROM runtime
ENV PYTHONUNBUFFERED=1 \
    MEDLEY_LOCAL_HOST=0.0.0.0
WORKDIR /opt/medley
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python", "-P", "-m", "container", "health"]
ENTRYPOINT ["python", "-P", "-m", "container"]
CMD ["serve"]
COPY --from=java-cache /cache/ /usr/local/share/medley/
COPY --from=code /code/ /opt/medley/
RUN python -m container.inventory > /usr/local/share/medley/sbom.spdx.json
ARG PYTHON
ARG VERSION
ARG REVISION
ARG CREATED
LABEL com.amazonaws.sagemaker.capabilities.multi-models=true \
      com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true \
      org.opencontainers.image.title=Medley \
      org.opencontainers.image.description="One SageMaker multi-model endpoint for models of many frameworks" \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.base.name=docker.io/library/python:${PYTHON}-slim-bookworm \
      org.opencontainers.image.version=${VERSION} \
      org.opencontainers.image.revision=${REVISION} \
      org.opencontainers.image.created=${CREATED}
