#!/usr/bin/env bash
# What people do with psql, pgbench, pg_dump, pg_restore and vacuumdb, on whatever the PG... variables point at.
# One line per check: its name, a tab, and what they would see. Needs the programs on the PATH and a directory, $1.
set -u
cd "$1" || exit 1
export PGOPTIONS='' PSQLRC=/dev/null PAGER=''

check() { # name, then a command; its output and exit code are what is seen
    local name=$1 seen code
    shift
    seen=$("$@" 2>&1)
    code=$?
    printf '%s\t%s (exit %s)\n' "$name" "${seen//$'\n'/\\n}" "$code"
}

# Statements from standard input, each with its answer, as a script that goes on after errors.
script() { psql -X -q -A -F '|' -P footer=off -v VERBOSITY=verbose "$@" 2>&1 | cat; }

check 'psql: errors and where they are' script -c 'SELECT 1' -c 'SELEC 2' -c 'SELECT 3/0' -c '\echo :SQLSTATE :LAST_ERROR_MESSAGE'

psql_session() {
    script <<'SQL'
CREATE TABLE kept (n int PRIMARY KEY, s text);
\d kept
BEGIN;
INSERT INTO kept VALUES (1, 'a');
SAVEPOINT s;
INSERT INTO kept VALUES (1, 'b');
ROLLBACK TO s;
COMMIT;
\set AUTOCOMMIT off
INSERT INTO kept VALUES (2, 'c');
ROLLBACK;
\set AUTOCOMMIT on
\set ON_ERROR_ROLLBACK on
BEGIN;
SELECT 1/0;
INSERT INTO kept VALUES (3, 'd');
COMMIT;
TABLE kept;
SET work_mem = '3MB';
CREATE TEMP TABLE mine AS SELECT 7 AS n;
PREPARE p (int) AS SELECT n + $1 AS sum FROM mine;
EXECUTE p(4);
SHOW work_mem;
SELECT 5 AS five \gset
SELECT :five * 2 AS ten;
SELECT 'SELECT ' || n AS x FROM generate_series(1, 3) n \gexec
SELECT 1 AS described, 'x' AS text \gdesc
\set FETCH_COUNT 10
SELECT count(*) FROM (SELECT generate_series(1, 95)) AS s;
SELECT generate_series(1, 25) AS n;
\unset FETCH_COUNT
SELECT 1 AS a\; SELECT 2 AS b;
\encoding LATIN1
SHOW client_encoding;
\encoding UTF8
DISCARD ALL;
SHOW work_mem;
EXECUTE p(4);
\watch
SELECT nothing;
\errverbose
\q
SQL
}
check 'psql: a session' psql_session

psql_copy() {
    script <<'SQL'
CREATE TABLE copied (n int, s text);
COPY copied FROM STDIN;
1	one
2	\N
\.
COPY copied (n) FROM STDIN;
3
x
\.
\copy copied to 'copied.txt'
\copy copied from 'copied.txt'
COPY copied TO STDOUT WITH (FORMAT csv, HEADER);
COPY copied FROM STDIN \; SELECT count(*) FROM copied;
9	nine
\.
SELECT count(*) FROM copied;
\copy (SELECT 1/0) to stdout
\copy nowhere from 'copied.txt'
SELECT 'goes on' AS so;
SQL
}
check 'psql: COPY' psql_copy

psql_reconnects() {
    script <<'SQL'
SET work_mem = '3MB';
CREATE TEMP TABLE mine (n int);
\c -
SELECT current_setting('work_mem') = '3MB' AS same, to_regclass('mine') AS mine;
\c - - - -
SELECT current_user = session_user AS me;
SET ROLE pg_monitor;
SELECT current_user;
\c
SELECT current_user = 'pg_monitor' AS still;
LISTEN news;
NOTIFY news, 'hello';
SELECT 1 AS one;
DO $$BEGIN RAISE NOTICE 'noted'; RAISE WARNING 'warned'; END$$;
\lo_import /dev/null
SELECT lo_unlink(:LASTOID);
SQL
}
check 'psql: reconnects and notices' bash -c "$(declare -f script psql_reconnects); psql_reconnects | sed -E 's/PID [0-9]+/PID/; s/lo_import [0-9]+/lo_import/'"

one_transaction() {
    printf 'CREATE TABLE once (n int);\nINSERT INTO once VALUES (1);\nSELECT 1/0;\n' >once.sql
    psql -X -q -1 -v ON_ERROR_STOP=1 -f once.sql
    echo "$?"
    psql -X -A -t -c "SELECT to_regclass('once') IS NULL"
}
check 'psql: one transaction from a file' one_transaction
check 'psql: lists' bash -c 'psql -X -A -t -c "\dt" -c "\dn" -c "\df" -c "\dT" | sort'
check 'psql: what a connection says' bash -c 'psql -X -A -t -c "\encoding" -c "SHOW application_name"'

environment() {
    PGOPTIONS='-c work_mem=5MB -c search_path=pg_catalog' PGTZ=Asia/Tokyo PGDATESTYLE='SQL, DMY' PGAPPNAME=tool PGCLIENTENCODING=LATIN1 script <<'SQL'
SELECT current_setting(n) FROM unnest(array['work_mem', 'search_path', 'TimeZone', 'DateStyle', 'application_name', 'client_encoding']) n;
SET DateStyle = 'German';
SET TimeZone = 'UTC';
SET work_mem = '6MB';
RESET DateStyle;
RESET TimeZone;
RESET ALL;
SELECT current_setting(n) FROM unnest(array['work_mem', 'search_path', 'TimeZone', 'DateStyle', 'application_name', 'client_encoding']) n;
SQL
}
check 'psql: settings from the environment' environment

check 'createdb and dropdb are refused alike' bash -c 'createdb "${PGDATABASE}_more"; dropdb "${PGDATABASE}_more"'
check 'pg_isready' bash -c 'pg_isready | sed "s/.*- //"'

bench() { pgbench -n "$@" 2>&1 | grep -E 'number of transactions actually|number of failed|error|aborted|FATAL'; }
check 'pgbench: init' bash -c 'pgbench -q -i -s 1 2>&1 | sed -E "s/done in.*/done/; /of [0-9]+ tuples/d"'
check 'pgbench: init on the server, with keys and partitions' bash -c 'pgbench -q -i -I dtGvpf -s 1 --partitions=3 2>&1 | sed -E "s/done in.*/done/"'
for builtin in tpcb-like simple-update select-only; do
    for mode in simple extended prepared; do
        check "pgbench: $builtin, $mode" bench -b $builtin -M $mode -c 8 -j 8 -t 20
    done
done
check 'pgbench: a connection each time' bench --connect -b select-only -c 6 -j 6 -t 10
check 'pgbench: a connection each time, prepared' bench --connect -M prepared -b simple-update -c 4 -j 4 -t 5

cat > pipeline.pgbench <<'SQL'
\set a random(1, 100000)
\startpipeline
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :a;
SELECT abalance FROM pgbench_accounts WHERE aid = :a;
END;
\endpipeline
SQL
check 'pgbench: a pipeline' bench -f pipeline.pgbench -M extended -c 8 -j 8 -t 20
check 'pgbench: a pipeline, prepared' bench -f pipeline.pgbench -M prepared -c 8 -j 8 -t 20
check 'pgbench: nothing was lost' psql -X -A -t -c 'SELECT (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(bbalance) FROM pgbench_branches), count(*) FROM pgbench_history'

psql -X -q -c "CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT \$1 * 2'" -c "CREATE TYPE mood AS ENUM ('fine')" \
    -c "CREATE TABLE parent (id serial PRIMARY KEY, m mood, t text DEFAULT 'é')" -c 'CREATE TABLE child (p int REFERENCES parent, b bytea)' \
    -c 'CREATE VIEW seen AS SELECT * FROM parent' -c "INSERT INTO parent (m) SELECT 'fine' FROM generate_series(1, 500)" \
    -c "INSERT INTO child SELECT n, decode(repeat('ab', n), 'hex') FROM generate_series(1, 500) n" \
    -c "SELECT lo_from_bytea(4711, 'large')" >/dev/null
count='SELECT count(*), sum(length(b)), (SELECT string_agg(DISTINCT t, $$$$) FROM parent), (SELECT nextval($$parent_id_seq$$)) FROM child'
without='-T pgbench_*'
check 'pg_dump: as text' bash -c "pg_dump $without --schema-only | grep -c ."
twice() {
    # Newer ones write a random word behind \restrict.
    for n in one two; do pg_dump $without | grep -v '^.restrict\|^.unrestrict' >$n.sql; done
    cmp one.sql two.sql
}
check 'pg_dump: as text is the same twice' twice
check 'pg_dump: in two jobs' bash -c 'pg_dump -Fd -j 2 -f dump.d; ls dump.d | wc -l'
check 'pg_dump: as one file' pg_dump $without -Fc -f dump.c
drop_all='DO $$BEGIN DROP TABLE IF EXISTS child, parent, kept, copied, once, pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers CASCADE; DROP TYPE IF EXISTS mood CASCADE; DROP FUNCTION IF EXISTS twice(int); PERFORM lo_unlink(4711); END$$'
check 'everything goes' psql -X -q -c "$drop_all"
check 'pg_restore: one file, one transaction' pg_restore --no-owner -1 -d "$PGDATABASE" dump.c
check 'what was restored' psql -X -A -t -c "$count" -c 'SELECT lo_get(4711)'
check 'pg_restore: in four jobs, over what is there' pg_restore --no-owner --clean --if-exists -j 4 -d "$PGDATABASE" dump.d
check 'what was restored again' psql -X -A -t -c "$count" -c 'SELECT count(*) FROM pgbench_accounts'
check 'psql reads a dump' bash -c "psql -X -q -c '$drop_all'; psql -X -q -v ON_ERROR_STOP=1 -f one.sql 2>&1 | grep -v '^ *[0-9]*$' | grep -v -e setval -e '---' -e lo_ -e rows"
check 'what was read' psql -X -A -t -c "$count"

check 'vacuumdb' vacuumdb -q -z -t child -t parent
check 'vacuumdb: in three jobs' bash -c 'vacuumdb -q --analyze-in-stages -t child; vacuumdb -q -f -j 3 -t child -t parent'
check 'reindexdb' reindexdb -q -t parent
check 'reindexdb: concurrently' reindexdb -q --concurrently -t parent
check 'clusterdb' bash -c 'psql -X -q -c "ALTER TABLE parent CLUSTER ON parent_pkey"; clusterdb -q -t parent'
