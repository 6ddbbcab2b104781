#!/bin/sh
# The steps of an image, called one by one by the Dockerfiles so that each is a layer of its own:
#
#   install.sh system              Python, the folders and their user
#   install.sh torch               an environment with torch $TORCH and torchvision $TORCHVISION
#   install.sh requirements FILE   everything else, pinned
#   install.sh debian PACKAGE ...  packages of the distribution that only this method needs
#   install.sh packages METHOD     the sources in /opt/vidseg, as they lie there
#
# TORCH_INDEX and PIP_INDEX_URL name other package indexes; both may be empty.
set -eu

ENVIRONMENT=/opt/venv
SOURCES=/opt/vidseg
WORKSPACE=/workspace
USER_ID=10001

system() {
    debian ca-certificates python3 python3-venv
    useradd --uid "$USER_ID" --no-log-init --home-dir "$WORKSPACE" --no-create-home \
        --shell /usr/sbin/nologin vidseg
    # Everybody may write here, because a container can run under the number of any user, so that
    # results in a mounted folder belong to the one who started it.
    for folder in "" /data /weights /saves /runs /cache; do
        install --directory --owner vidseg --mode 1777 "$WORKSPACE$folder"
    done
}

debian() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -qq --yes --no-install-recommends "$@"
    rm -rf /var/lib/apt/lists/*
}

torch() {
    python3 -m venv "$ENVIRONMENT"
    # torchvision asks for nothing but torch and what the requirements pin.
    pip_install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "torch==$TORCH"
    pip_install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} --no-deps "torchvision==$TORCHVISION"
}

requirements() {
    pip_install --requirement "$1"
}

packages() {
    pip_install --no-index --no-deps --no-build-isolation \
        --editable "$SOURCES/common" --editable "$SOURCES/$1"
    "$ENVIRONMENT/bin/python" -m pip check
}

pip_install() {
    "$ENVIRONMENT/bin/python" -m pip install --quiet --no-cache-dir "$@"
}

# An index that is not given is no index, rather than one with an empty name.
[ -n "${PIP_INDEX_URL:-}" ] || unset PIP_INDEX_URL
step=$1
shift
case $step in
    system | torch | requirements | debian | packages) "$step" "$@" ;;
    *) echo "install.sh: unknown step '$step'" >&2 && exit 2 ;;
esac
