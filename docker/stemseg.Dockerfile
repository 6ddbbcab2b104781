# STEm-Seg: `make docker-stemseg`, or `docker build -f docker/stemseg.Dockerfile [--target cpu] .` from the
# root of the repository. docs/containers.md describes arguments, volumes and how it is run.

# Another base needs apt, and Python 3.11 or newer among its packages.
ARG BASE=nvidia/cuda:13.0.1-runtime-ubuntu24.04
ARG BASE_CPU=ubuntu:24.04
ARG TORCH=2.14.1
ARG TORCHVISION=0.29.1
# Other package indexes: TORCH_INDEX for torch and torchvision only, such as one of CPU builds.
# A whole configuration of pip, with its passwords, goes in as the secret `pip`.
ARG TORCH_INDEX=
ARG PIP_INDEX_URL=

FROM ${BASE_CPU} AS cpu
ARG TORCH
ARG TORCHVISION
ARG TORCH_INDEX
ARG PIP_INDEX_URL
COPY docker/install.sh /opt/build/
RUN sh /opt/build/install.sh system
RUN --mount=type=secret,id=pip,target=/etc/pip.conf sh /opt/build/install.sh torch
COPY docker/requirements/stemseg.txt /opt/build/requirements.txt
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    sh /opt/build/install.sh requirements /opt/build/requirements.txt
COPY common /opt/vidseg/common
COPY stemseg /opt/vidseg/stemseg
RUN sh /opt/build/install.sh packages stemseg
ENV PATH=/opt/venv/bin:$PATH HOME=/workspace XDG_CACHE_HOME=/workspace/cache PYTHONUNBUFFERED=1
WORKDIR /workspace
VOLUME ["/workspace/data", "/workspace/saves", "/workspace/runs", "/workspace/cache"]
USER 10001
ENTRYPOINT ["stemseg"]
CMD ["--help"]

FROM ${BASE} AS gpu
ARG TORCH
ARG TORCHVISION
ARG TORCH_INDEX
ARG PIP_INDEX_URL
COPY docker/install.sh /opt/build/
RUN sh /opt/build/install.sh system
RUN --mount=type=secret,id=pip,target=/etc/pip.conf sh /opt/build/install.sh torch
COPY docker/requirements/stemseg.txt /opt/build/requirements.txt
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    sh /opt/build/install.sh requirements /opt/build/requirements.txt
COPY common /opt/vidseg/common
COPY stemseg /opt/vidseg/stemseg
RUN sh /opt/build/install.sh packages stemseg
ENV PATH=/opt/venv/bin:$PATH HOME=/workspace XDG_CACHE_HOME=/workspace/cache PYTHONUNBUFFERED=1
WORKDIR /workspace
VOLUME ["/workspace/data", "/workspace/saves", "/workspace/runs", "/workspace/cache"]
USER 10001
ENTRYPOINT ["stemseg"]
CMD ["--help"]
