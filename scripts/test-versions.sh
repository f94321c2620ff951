#!/usr/bin/env bash
# Runs the behaviour tests for which the server's version could matter, on servers of several versions:
#   test-versions.sh                 PGSLUICE_VERSIONS, or the oldest and the newest that are supported
#   test-versions.sh plans::         those tests only; any words that `cargo test` takes after `--`
# PGSLUICE_VERSIONS is a list (`14 16`), or `all`. The distribution's own is what `make test` runs on.
set -euo pipefail
cd "$(dirname "$0")/.."

group=(
    versions:: sandbox:: simple_query:: extended_query:: pipeline:: errors_until_sync:: copy:: cancel::
    auth_login:: channel_binding:: direct_tls:: protocol_3_2:: notices_parameter_status:: connect_query::
    transaction_pooling:: pinning:: own_server:: prepared:: sql_prepare:: statement_names:: isolation::
    route_replica:: topology:: host_list:: replication:: catalog:: plans:: explain_primary:: replay::
    ddl_facts:: truth:: guard_block::
)
[ $# -gt 0 ] || set -- "${group[@]}"

versions=${PGSLUICE_VERSIONS:-13 18}
[ "$versions" != all ] || versions='13 14 15 16 17 18'
# shellcheck disable=SC2086
scripts/setup-postgres.sh $versions
failed=()
for version in $versions; do
    printf 'test-versions: PostgreSQL %s\n' "$version"
    start=$SECONDS
    PGSLUICE_POSTGRES=$version ${CARGO:-cargo} test --locked --test it -- "$@" || failed+=("$version")
    printf 'test-versions: PostgreSQL %s took %s s\n' "$version" "$((SECONDS - start))"
done
[ ${#failed[@]} -eq 0 ] || { printf 'test-versions: failed on %s\n' "${failed[*]}" >&2; exit 1; }
