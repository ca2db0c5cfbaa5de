#!/bin/sh
# Installs and starts nodes of this deployment on this host: ./install.sh main v1 v2
# Run it again after provisioning again; nodes restart only where something has changed.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
[ $# -gt 0 ] || { echo "usage: $0 NODE...    (see README.md)" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "$0: needs root: it makes a user, and units of systemd" >&2; exit 1; }
command -v amphi >/dev/null || { echo "$0: there is no amphi program; install the package, or copy it to /usr/bin" >&2; exit 1; }
for node in "$@"; do
    [ -f "$here/nodes/$node/amphi.toml" ] || { echo "$0: there is no node $node in $here/nodes" >&2; exit 2; }
    (cd "$here/nodes/$node" && amphi config check amphi.toml)
done

getent passwd amphi >/dev/null || useradd --system --home-dir /var/lib/amphi --shell /usr/sbin/nologin amphi
install -d -m 0750 -o root -g amphi /etc/amphi
# The package brings the unit itself.
[ -f /lib/systemd/system/amphi@.service ] || install -m 0644 "$here/systemd/amphi@.service" /etc/systemd/system/
install -m 0644 "$here/systemd/60-amphi.conf" /etc/sysctl.d/
sysctl --quiet --load=/etc/sysctl.d/60-amphi.conf || echo "$0: the buffers of sockets could not be made larger" >&2
systemctl daemon-reload

for node in "$@"; do
    to=/etc/amphi/$node
    changed=no
    if ! diff -rq "$here/nodes/$node" "$to" >/dev/null 2>&1; then
        changed=yes
        mkdir -p "$to"
        cp -R "$here/nodes/$node/." "$to/"
        chown -R root:amphi "$to"
        find "$to" -type d -exec chmod 0750 {} +
        find "$to" -type f -exec chmod 0640 {} +
    fi
    systemctl enable --quiet "amphi@$node"
    if [ "$changed" = yes ]; then
        systemctl restart "amphi@$node"
    else
        systemctl start "amphi@$node"
    fi
    echo "amphi@$node: $(systemctl is-active "amphi@$node")"
done
