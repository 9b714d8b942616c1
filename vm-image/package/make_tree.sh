#!/bin/sh
# Lay the installed files down below a directory, the same for every init.
# usage: make_tree.sh DESTDIR SITE_PACKAGES PYTHON
set -eu
umask 022
here=$(cd "$(dirname "$0")/.." && pwd)
source=$(dirname "$here")
destination=$1 site=$2 python=$3
lib=$destination/usr/lib/ramnet

put() { # MODE FILE... DIRECTORY, as install(1) does, below the destination
    install -D -m "$1" -t "$destination$3" "$2"
}

libraries() {
    mkdir -p "$lib/bin" "$lib/lib/python3/site-packages"
    cp -a "$site/." "$lib/lib/python3/site-packages"
    (cd "$source" && find ramnet -name '*.py' -o -name '*.toml' -o -name py.typed) |
        tar -C "$source" --create --files-from=- | tar -C "$lib/lib/python3/site-packages" --extract
    find "$lib/lib" -name __pycache__ -type d -prune -exec rm -rf {} +
    # Every interpreter looks in a directory of its own name (venv); here they are one.
    for version in 3.11 3.12 3.13 3.14; do
        ln -sfn python3 "$lib/lib/python$version"
    done
    ln -sfn /usr/bin/python3 "$lib/bin/python3"
    printf 'home = /usr/bin\ninclude-system-site-packages = false\n' >"$lib/pyvenv.cfg"
    put 755 "$here/package/ramnet" /usr/bin
    put 755 "$here/package/docker-ram" /usr/libexec/docker/cli-plugins
    for program in hold in-scope init iptables; do
        put 755 "$here/lib/$program" /usr/lib/ramnet
    done
}

settings() {
    put 644 "$here/etc/ramnet.toml" /etc/ramnet
    put 644 "$here/etc/policy.toml" /etc/ramnet
    install -D -m 644 "$here/units/sysusers.conf" "$destination/usr/lib/sysusers.d/ramnet.conf"
    install -D -m 644 "$here/units/tmpfiles.conf" "$destination/usr/lib/tmpfiles.d/ramnet.conf"
}

systemd() {
    units=/usr/lib/systemd/system
    for unit in ramnet-hold.service ramnet-ca.service ramnet.service ramnet.slice; do
        put 644 "$here/units/$unit" $units
    done
    for daemon in docker containerd; do
        put 644 "$here/units/50-ramnet.conf" "$units/$daemon.service.d"
    done
}

documents() {
    man=$destination/usr/share/man/man8/ramnet.8
    mkdir -p "$(dirname "$man")" "$destination/usr/share/ramnet/openrc"
    PYTHONPATH=$source:$here "$python" -m package.manpage | gzip -9n >"$man.gz"
    completion bash "$destination/usr/share/bash-completion/completions/ramnet"
    completion zsh "$destination/usr/share/zsh/vendor-completions/_ramnet"
    completion fish "$destination/usr/share/fish/vendor_completions.d/ramnet.fish"
    put 755 "$here/openrc/ramnet" /usr/share/ramnet/openrc
    put 755 "$here/openrc/ramnet-hold" /usr/share/ramnet/openrc
    put 644 "$here/package/copyright" /usr/share/doc/ramnet
}

completion() { # SHELL FILE
    mkdir -p "$(dirname "$2")"
    _RAMNET_COMPLETE=$1_source PYTHONPATH=$source "$python" -c \
        'from ramnet.cli import main; main(prog_name="ramnet")' >"$2"
}

libraries
settings
systemd
documents
