#!/bin/sh
# Makes the passwords of compose.yaml, once. The user of the image (65532) reads them.
set -eu
cd "$(dirname -- "$0")"
mkdir -p secrets
for name in focus_password jvb_password; do
    [ -s "secrets/$name" ] || (umask 022; head -c 24 /dev/urandom | base64 | tr -d '/+=\n' >"secrets/$name")
done
chmod 711 secrets
