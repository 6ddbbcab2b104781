# DeVIS: `make docker-devis`, or `docker build -f docker/devis.Dockerfile [--target cpu] .` from the
# root of the repository. docs/containers.md describes arguments, volumes and how it is run.
# The compiler is for the kernels of deformable attention: those in C++ are built for the processor
# at hand and kept in /workspace/cache, those for a GPU by Triton.

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
COPY docker/requirements/devis.txt /opt/build/requirements.txt
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    sh /opt/build/install.sh requirements /opt/build/requirements.txt
RUN sh /opt/build/install.sh debian g++ ninja-build python3-dev
COPY common /opt/vidseg/common
COPY devis /opt/vidseg/devis
RUN sh /opt/build/install.sh packages devis
ENV PATH=/opt/venv/bin:$PATH HOME=/workspace XDG_CACHE_HOME=/workspace/cache PYTHONUNBUFFERED=1
WORKDIR /workspace
VOLUME ["/workspace/data", "/workspace/weights", "/workspace/runs", "/workspace/cache"]
USER 10001
ENTRYPOINT ["devis"]
CMD ["--help"]

FROM ${BASE} AS gpu
ARG TORCH
ARG TORCHVISION
ARG TORCH_INDEX
ARG PIP_INDEX_URL
COPY docker/install.sh /opt/build/
RUN sh /opt/build/install.sh system
RUN --mount=type=secret,id=pip,target=/etc/pip.conf sh /opt/build/install.sh torch
COPY docker/requirements/devis.txt /opt/build/requirements.txt
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    sh /opt/build/install.sh requirements /opt/build/requirements.txt
RUN sh /opt/build/install.sh debian g++ ninja-build python3-dev
COPY common /opt/vidseg/common
COPY devis /opt/vidseg/devis
RUN sh /opt/build/install.sh packages devis
ENV PATH=/opt/venv/bin:$PATH HOME=/workspace XDG_CACHE_HOME=/workspace/cache PYTHONUNBUFFERED=1
WORKDIR /workspace
VOLUME ["/workspace/data", "/workspace/weights", "/workspace/runs", "/workspace/cache"]
USER 10001
ENTRYPOINT ["devis"]
CMD ["--help"]
