#!/usr/bin/env bash
# Installs what the build and the tests need from Debian's or Ubuntu's packages, and only what is missing:
#   PostgreSQL 13 or newer (its programs; no server is left running), libclang (reads the grammar's headers).
#   setup.sh test: also the extension hypopg, where there is a package of it; without it one test of advice is skipped.
#   setup.sh bench: also PgBouncer to compare with, strace and valgrind to count with.
# Running it again does nothing. Needs: Rust, a C compiler, and root or sudo if something is missing.
set -euo pipefail

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

have_postgres() {
    local dir major
    for dir in "${PG_CONFIG:+$(dirname "$PG_CONFIG")}" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin ${PATH//:/ }; do
        [ -x "$dir/postgres" ] && [ -x "$dir/initdb" ] && [ -x "$dir/pgbench" ] && [ -x "$dir/psql" ] || continue
        major=$("$dir/postgres" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/')
        [ "$major" -ge 13 ] && return 0
    done
    return 1
}

have_libclang() {
    # libclang-cpp is another library: its name begins alike, and it alone is of no use here.
    local dir file
    for dir in "${LIBCLANG_PATH:-/nowhere}" /usr/lib/llvm-*/lib /usr/lib/*-linux-gnu* /usr/lib64 /usr/local/lib; do
        for file in "$dir"/libclang.so* "$dir"/libclang-[0-9]*.so*; do
            [ -e "$file" ] && return 0
        done
    done
    return 1
}

have() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"
    elif have sudo; then sudo "$@"
    else fail "this needs root: $*  (no sudo here)"
    fi
}

update() { as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq; }
install() { as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }

# What nothing works without, and what some test is skipped without.
missing=() optional=()
have_postgres || missing+=(postgresql)
have_libclang || missing+=(libclang-dev)
if [ "${1:-}" = bench ]; then
    have pgbouncer || missing+=(pgbouncer)
    have strace || missing+=(strace)
    have valgrind || missing+=(valgrind)
fi
have cargo || fail "cargo was not found: install Rust from https://rustup.rs first"
have cc || fail "a C compiler was not found: install one first, on Debian with \`apt-get install gcc libc6-dev\`"
if [ "${1:-}" = test ] && ! compgen -G '/usr/share/postgresql/*/extension/hypopg.control' >/dev/null; then
    # Of the newest server that is here, or of the one that comes.
    newest=$(printf '%s\n' /usr/lib/postgresql/*/bin/postgres | sed -nE 's|^/usr/lib/postgresql/([0-9]+)/.*|\1|p' | sort -n | tail -n 1)
    if [ -n "$newest" ] && have apt-cache && apt-cache show "postgresql-$newest-hypopg" >/dev/null 2>&1; then
        optional+=("postgresql-$newest-hypopg")
    else
        say "there is no package of hypopg here: what needs it is skipped"
    fi
fi
if [ ${#missing[@]} -eq 0 ] && [ ${#optional[@]} -gt 0 ]; then
    # Nobody is asked for a password, and nothing fails, for what tests can do without.
    if { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; } && { install "${optional[@]}" || { update && install "${optional[@]}"; }; } 2>/dev/null; then
        say "installed ${optional[*]}"
    else
        say "${optional[*]} can't be installed: what needs it is skipped"
    fi
fi
[ ${#missing[@]} -gt 0 ] || exit 0

have apt-get || fail "missing: ${missing[*]} (Debian's names); there is no apt-get here, so install them by hand"
say "installing with apt-get: ${missing[*]}"

# Debian's package makes and starts a server on port 5432 when it is installed. Nobody asked for one.
drop_in=/etc/postgresql-common/createcluster.d/pgsluice-setup.conf
cleanup() { [ ! -e "$drop_in" ] || as_root rm -f "$drop_in"; }
trap cleanup EXIT
case " ${missing[*]} " in
*" postgresql "*)
    as_root mkdir -p "$(dirname "$drop_in")"
    echo 'create_main_cluster = false' | as_root tee "$drop_in" >/dev/null
    ;;
esac

update
install "${missing[@]}"
[ ${#optional[@]} -eq 0 ] || install "${optional[@]}" || say "${optional[*]} can't be installed: what needs it is skipped"

# The same for PgBouncer, where systemd has started it.
case " ${missing[*]} " in
*" pgbouncer "*) [ ! -d /run/systemd/system ] || as_root systemctl disable --now --quiet pgbouncer || true ;;
esac

have_postgres || fail "the distribution's PostgreSQL is older than 13: install a newer one by hand"
have_libclang || fail "libclang is still not found: set LIBCLANG_PATH to the directory that holds libclang.so"
say "done"
