#!/usr/bin/env bash
# Gets the drivers that tests/it/drivers/ tries, each at the version it was written for, into drivers/ of the target
# directory (the JDBC driver from the distribution). What lacks its runtime is left out with a line; the tests of it
# then say so too. Running it again does nothing.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

psycopg=3.3.4
node_modules=(pg@8.23.0 pg-cursor@2.22.0 pg-copy-streams@7.0.0)
home=${CARGO_TARGET_DIR:-target}/drivers

say() { printf 'setup-drivers: %s\n' "$*"; }

# Tries again: a registry may be slow to answer.
attempt() {
    local n
    for n in 1 2 3; do
        "$@" && return 0
        sleep "$n"
    done
    say "failed: $*"
    return 1
}

python() {
    local there
    there=$("$home/python/bin/python" -c 'import psycopg; print(psycopg.__version__)' 2>/dev/null)
    [ "$there" = "$psycopg" ] && return
    python3 -m venv --clear "$home/python" >/dev/null 2>&1 || { say 'no Python 3 with venv: psycopg is left out'; return; }
    say "psycopg $psycopg"
    attempt "$home/python/bin/python" -m pip install --quiet --disable-pip-version-check "psycopg[binary]==$psycopg"
}

node() {
    local stamp=$home/node/installed
    [ "$(cat "$stamp" 2>/dev/null)" = "${node_modules[*]}" ] && return
    command -v npm >/dev/null && command -v node >/dev/null || { say 'no Node.js with npm: node-postgres is left out'; return; }
    say "node-postgres: ${node_modules[*]}"
    rm -rf "$home/node"
    mkdir -p "$home/node"
    attempt npm install --prefix "$home/node" --silent --no-audit --no-fund --ignore-scripts "${node_modules[@]}" >/dev/null &&
        echo "${node_modules[*]}" >"$stamp"
}

jdbc() {
    [ -e /usr/share/java/postgresql.jar ] && return
    command -v javac >/dev/null || { say 'no JDK: the JDBC driver is left out'; return; }
    command -v apt-get >/dev/null || { say 'no apt-get: the JDBC driver is left out'; return; }
    local root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || { say 'neither root nor sudo: the JDBC driver is left out'; return; }
        root=(sudo)
    fi
    say 'libpostgresql-jdbc-java'
    attempt "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    attempt "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libpostgresql-jdbc-java >/dev/null
}

mkdir -p "$home"
python
node
jdbc
exit 0
