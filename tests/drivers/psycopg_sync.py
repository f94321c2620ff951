"""What a Python program does with a database, through whatever the PG... variables point at."""

import queue
import threading
import time
import uuid

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from report import VALUES, check, error, fails, run


def value(conn, sql, params=None, **named):
    row = conn.execute(sql, params, **named).fetchone()
    return row[0] if row else None


def other():
    return psycopg.connect(autocommit=True)


# --- rows and types ---------------------------------------------------------------------------------------------


@check
def rows_and_names(conn):
    conn.execute("CREATE TABLE item (id int PRIMARY KEY, name text, tags text[])")
    with conn.cursor() as cur:
        cur.executemany("INSERT INTO item VALUES (%s, %s, %s)", [(n, f"item {n}", ["a", str(n)]) for n in range(10)])
        inserted = cur.rowcount
    with conn.cursor(row_factory=dict_row) as cur:
        row = cur.execute("SELECT * FROM item WHERE id = %s", (7,)).fetchone()
        names = [column.name for column in cur.description]
    return inserted, row, names


@check
def status_messages(conn):
    texts = [
        "CREATE TABLE tag (n int)",
        "INSERT INTO tag SELECT generate_series(1, 3)",
        "UPDATE tag SET n = n + 1 WHERE n > 1",
        "SELECT * FROM tag",
        "DELETE FROM tag WHERE n = 1",
        "TRUNCATE tag",
        "DROP TABLE tag",
        "SET work_mem = '1MB'",
        "",
    ]
    return [(cur.statusmessage, cur.rowcount) for cur in map(conn.execute, texts)]


@check
def types_as_text_and_binary(conn):
    seen = []
    for kind, sent in VALUES:
        for binary in (False, True):
            back = value(conn, f"SELECT %s::{kind}", (sent,), binary=binary)
            seen.append(back == sent or (back != back and sent != sent) or repr(back))
    return seen


@check
def types_made_here(conn):
    conn.execute("CREATE TYPE mood AS ENUM ('fine', 'so so')")
    conn.execute("CREATE TYPE pair AS (a int, b text)")
    info = psycopg.types.enum.EnumInfo.fetch(conn, "mood")
    composite = psycopg.types.composite.CompositeInfo.fetch(conn, "pair")
    psycopg.types.composite.register_composite(composite, conn)
    back = conn.execute("SELECT 'so so'::mood, row(1, 'x')::pair, %s, %s::jsonb", (uuid.UUID(int=7), Jsonb({"a": [1]})))
    return info.labels, [str(v) for v in back.fetchone()]


@check
def rows_larger_than_any_buffer(conn):
    text = "x" * 3_000_000
    back = value(conn, "SELECT %s || 'y'", (text,))
    column = conn.execute("SELECT repeat('z', 1000000), n FROM generate_series(1, 5) n").fetchall()
    return len(back), [(len(row[0]), row[1]) for row in column]


@check
def many_rows(conn):
    rows = conn.execute("SELECT n, n::text, repeat('r', 50) FROM generate_series(1, 50000) n").fetchall()
    return len(rows), rows[0][:2], rows[-1][:2]


@check
def several_statements_in_one_text(conn):
    cur = conn.execute("SELECT 1; SELECT 2, 3; CREATE TABLE several (n int); INSERT INTO several VALUES (1), (2)")
    seen = [(cur.statusmessage, cur.fetchall() if cur.description else None)]
    while cur.nextset():
        seen.append((cur.statusmessage, cur.fetchall() if cur.description else None))
    return seen


@check
def several_statements_with_an_error(conn):
    seen = fails(conn.execute, "CREATE TABLE half (n int); SELECT 1/0; SELECT 3")
    return seen, value(conn, "SELECT to_regclass('half')")


# --- transactions -----------------------------------------------------------------------------------------------


@check
def transaction_status(conn):
    conn.autocommit = False
    seen = [conn.info.transaction_status.name]
    conn.execute("SELECT 1")
    seen.append(conn.info.transaction_status.name)
    seen.append(fails(conn.execute, "SELECT 1/0"))
    seen.append(conn.info.transaction_status.name)
    seen.append(fails(conn.execute, "SELECT 1"))
    conn.rollback()
    seen.append(conn.info.transaction_status.name)
    return seen


@check
def savepoints(conn):
    conn.execute("CREATE TABLE save (n int PRIMARY KEY)")
    with conn.transaction():
        conn.execute("INSERT INTO save VALUES (1)")
        for n in (1, 2, 1, 3):
            try:
                with conn.transaction():
                    conn.execute("INSERT INTO save VALUES (%s)", (n,))
            except psycopg.errors.UniqueViolation:
                pass
    return conn.execute("SELECT array_agg(n ORDER BY n) FROM save").fetchone()


@check
def isolation_and_read_only(conn):
    conn.autocommit = False
    conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    conn.read_only = True
    conn.deferrable = True
    seen = [value(conn, "SHOW " + name) for name in ("transaction_isolation", "transaction_read_only")]
    seen.append(fails(conn.execute, "CREATE TABLE never (n int)"))
    conn.rollback()
    conn.isolation_level = conn.read_only = conn.deferrable = None
    seen.append(value(conn, "SHOW transaction_isolation"))
    return seen


@check
def characteristics_of_the_session(conn):
    conn.execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    seen = [value(conn, "SHOW transaction_isolation"), fails(conn.execute, "CREATE TABLE never (n int)")]
    conn.execute("RESET ALL")
    return seen, value(conn, "SHOW transaction_isolation"), value(conn, "SHOW transaction_read_only")


@check
def serialization_failure(conn):
    conn.execute("CREATE TABLE counter AS SELECT 1 AS n")
    with other() as second:
        for c in (conn, second):
            c.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            c.execute("SELECT n FROM counter")
        conn.execute("UPDATE counter SET n = 2 WHERE n = 1")
        conn.execute("COMMIT")
        return fails(second.execute, "UPDATE counter SET n = 3 WHERE n = 1")


@check
def two_phase_commit(conn):
    seen = []
    conn.autocommit = False
    gid = value(conn, "SELECT current_database()") + "_sync"
    conn.rollback()
    conn.tpc_begin(conn.xid(1, gid, "b"))
    conn.execute("CREATE TABLE prepared_away (n int)")
    conn.tpc_prepare()
    conn.close()
    with psycopg.connect() as second:
        mine = [x for x in second.tpc_recover() if x.gtrid == gid]
        second.rollback()
        seen.append(len(mine))
        second.tpc_commit(mine[0])
        seen.append(value(second, "SELECT count(*) FROM prepared_away"))
    return seen


# --- prepared statements ----------------------------------------------------------------------------------------


@check
def prepared_by_itself(conn):
    """psycopg prepares what it has sent five times."""
    return [value(conn, "SELECT %s::int + 1", (n,)) for n in range(12)]


@check
def prepared_statements_as_the_server_lists_them(conn):
    for n in range(8):
        conn.execute("SELECT %s::int + 2", (n,))
    conn.execute("PREPARE by_text (int) AS SELECT $1 + 1")
    listed = "SELECT name, statement, parameter_types::text, from_sql FROM pg_prepared_statements ORDER BY name"
    return conn.execute(listed, prepare=False).fetchall()


@check
def many_prepared_statements(conn):
    conn.prepare_threshold = 0
    conn.prepared_max = None
    seen = 0
    for _ in range(2):
        for n in range(300):
            seen += value(conn, f"SELECT {n} + %s::int", (1,))
    return seen


@check
def evicted_prepared_statements(conn):
    conn.prepare_threshold = 0
    conn.prepared_max = 5
    return sum(value(conn, f"SELECT {n % 11} + %s::int", (1,)) for n in range(60))


@check
def prepare_execute_deallocate_in_sql(conn):
    conn.execute("PREPARE one (int) AS SELECT $1 * 2")
    seen = [value(conn, "EXECUTE one(21)")]
    seen.append(fails(conn.execute, "PREPARE one AS SELECT 1"))
    conn.execute("DEALLOCATE one")
    seen.append(fails(conn.execute, "EXECUTE one(1)"))
    conn.execute("PREPARE one AS SELECT 'again'")
    seen.append(value(conn, "EXECUTE one"))
    conn.execute("DEALLOCATE ALL")
    seen.append(fails(conn.execute, "EXECUTE one"))
    return seen


@check
def deallocate_all_beneath_a_prepared_statement(conn):
    conn.prepare_threshold = 0
    sql = "SELECT %s::text || ' here'"
    seen = [value(conn, sql, ("a",)), value(conn, sql, ("b",))]
    conn.execute("DEALLOCATE ALL", prepare=False)
    seen.append(fails(value, conn, sql, ("c",)))
    conn.execute("DISCARD ALL", prepare=False)
    return seen, fails(value, conn, sql, ("d",))


@check
def a_prepared_statement_outlives_its_table(conn):
    conn.execute("CREATE TABLE shape (a int); INSERT INTO shape VALUES (1)")
    conn.prepare_threshold = 0
    sql = "SELECT * FROM shape WHERE a > %s"
    seen = [conn.execute(sql, (0,)).fetchall() for _ in range(2)]
    conn.execute("ALTER TABLE shape ADD b int DEFAULT 5")
    seen.append(fails(lambda: conn.execute(sql, (0,)).fetchall()))
    conn.execute("DROP TABLE shape")
    seen.append(fails(conn.execute, sql, (0,)))
    conn.execute("CREATE TABLE shape (a text)")
    seen.append(fails(lambda: conn.execute(sql, (0,)).fetchall()))
    return seen


# --- settings and identity --------------------------------------------------------------------------------------


@check
def set_show_reset(conn):
    seen = []
    for name, new in (("work_mem", "3MB"), ("timezone", "Asia/Tokyo"), ("datestyle", "German"), ("extra_float_digits", "0")):
        before = value(conn, "SHOW " + name)
        conn.execute(f"SET {name} = '{new}'")
        seen.append((name, value(conn, "SHOW " + name)))
        conn.execute("RESET " + name)
        seen.append(value(conn, "SHOW " + name) == before)
    conn.execute("SET TIME ZONE INTERVAL '+02:30' HOUR TO MINUTE")
    seen.append(value(conn, "SHOW timezone"))
    conn.execute("SET TIME ZONE LOCAL; SET NAMES 'LATIN1'")
    seen.append((value(conn, "SHOW client_encoding"), conn.info.encoding))
    conn.execute("RESET ALL")
    return seen, value(conn, "SHOW client_encoding"), conn.info.encoding


@check
def start_up_settings_and_reset(_):
    options = "-c work_mem=5MB -c statement_timeout=77s"
    with psycopg.connect(autocommit=True, options=options, application_name="starter") as conn:
        conn.execute("SET work_mem = '6MB'; SET statement_timeout = 0; SET application_name = 'changed'")
        changed = [value(conn, "SHOW " + n) for n in ("work_mem", "statement_timeout", "application_name")]
        conn.execute("RESET work_mem; RESET statement_timeout; RESET application_name")
        back = [value(conn, "SHOW " + n) for n in ("work_mem", "statement_timeout", "application_name")]
        conn.execute("SET work_mem = '7MB'")
        conn.execute("DISCARD ALL")
        return changed, back, value(conn, "SHOW work_mem"), value(conn, "SELECT current_setting('application_name')")


@check
def settings_are_rolled_back(conn):
    seen = []
    conn.execute("SET work_mem = '2MB'")
    conn.execute("BEGIN")
    conn.execute("SET work_mem = '3MB'; SAVEPOINT s; SET work_mem = '4MB'")
    seen.append(value(conn, "SHOW work_mem"))
    conn.execute("ROLLBACK TO s")
    seen.append(value(conn, "SHOW work_mem"))
    conn.execute("SET LOCAL work_mem = '5MB'")
    seen.append(value(conn, "SHOW work_mem"))
    conn.execute("COMMIT")
    seen.append(value(conn, "SHOW work_mem"))
    conn.execute("BEGIN; SET work_mem = '6MB'; ROLLBACK")
    seen.append(value(conn, "SHOW work_mem"))
    seen.append(fails(conn.execute, "SET work_mem = '8MB'; SELECT 1/0"))
    return seen, value(conn, "SHOW work_mem")


@check
def set_config_and_custom_settings(conn):
    seen = [value(conn, "SELECT set_config('my.tenant', '42', false)")]
    seen.append(value(conn, "SELECT current_setting('my.tenant')"))
    conn.execute("BEGIN; SELECT set_config('my.tenant', '43', true)")
    seen.append(value(conn, "SELECT current_setting('my.tenant')"))
    conn.execute("COMMIT")
    seen.append(value(conn, "SELECT current_setting('my.tenant')"))
    seen.append(value(conn, "SELECT set_config('work_mem', '9MB', false)"))
    return seen, value(conn, "SHOW work_mem")


@check
def settings_made_by_a_function(conn):
    conn.execute("""CREATE FUNCTION quietly() RETURNS text LANGUAGE plpgsql AS $$
        BEGIN PERFORM set_config('work_mem', '11MB', false); RETURN 'done'; END $$""")
    conn.execute("SELECT quietly()")
    first = value(conn, "SHOW work_mem")
    conn.execute("DO $$BEGIN SET statement_timeout = '12s'; END$$")
    return first, value(conn, "SHOW statement_timeout")


@check
def search_path(conn):
    conn.execute("CREATE SCHEMA a; CREATE SCHEMA b; CREATE TABLE a.t AS SELECT 'a' w; CREATE TABLE b.t AS SELECT 'b' w")
    conn.prepare_threshold = 0
    seen = []
    for path in ("a", "b", "b, a", "a"):
        conn.execute(f"SET search_path = {path}")
        seen.append(value(conn, "SELECT w FROM t"))
        seen.append(value(conn, "SELECT w FROM t WHERE w <> %s", ("",)))
    with other() as second:
        seen.append(fails(second.execute, "SELECT w FROM t"))
    return seen, value(conn, "SELECT current_schemas(false)::text")


@check
def roles(conn):
    me = value(conn, "SELECT current_user")
    conn.execute("SET ROLE pg_monitor")
    seen = [value(conn, "SELECT current_user"), value(conn, "SELECT session_user") == me]
    with other() as second:
        seen.append(value(second, "SELECT current_user") == me)
    conn.execute("RESET ROLE")
    seen.append(value(conn, "SELECT current_user") == me)
    conn.execute("BEGIN; SET LOCAL ROLE pg_monitor")
    seen.append(value(conn, "SELECT current_user"))
    conn.execute("ROLLBACK")
    seen.append(fails(conn.execute, "SET SESSION AUTHORIZATION pg_monitor"))
    return seen, value(conn, "SELECT current_user") == me


@check
def discard(conn):
    conn.execute("CREATE TEMP TABLE gone (n int); SET work_mem = '13MB'; PREPARE gone AS SELECT 1; LISTEN gone")
    conn.execute("SELECT pg_advisory_lock(77)")
    conn.execute("DISCARD TEMP")
    seen = [value(conn, "SELECT to_regclass('gone')"), value(conn, "SHOW work_mem")]
    conn.execute("DISCARD PLANS; DISCARD SEQUENCES")
    conn.execute("DISCARD ALL")
    seen.append(value(conn, "SHOW work_mem") == "13MB")
    seen.append(fails(conn.execute, "EXECUTE gone"))
    seen.append(conn.execute("SELECT pg_listening_channels()").fetchall())
    seen.append(value(conn, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"))
    return seen, fails(conn.execute, "BEGIN; DISCARD ALL")


# --- what a session keeps ---------------------------------------------------------------------------------------


@check
def temporary_tables(conn):
    conn.execute("CREATE TEMP TABLE mine (n int)")
    conn.execute("INSERT INTO mine SELECT generate_series(1, 4)")
    with other() as second:
        hidden = fails(second.execute, "SELECT * FROM mine")
        second.execute("CREATE TEMP TABLE mine AS SELECT 'other'::text AS n")
        theirs = value(second, "SELECT n FROM mine")
    conn.execute("BEGIN; CREATE TEMP TABLE brief (n int) ON COMMIT DROP; COMMIT")
    brief = value(conn, "SELECT to_regclass('brief')")
    mine = value(conn, "SELECT sum(n) FROM mine")
    conn.execute("DROP TABLE mine")
    return hidden, theirs, brief, mine, fails(conn.execute, "SELECT * FROM mine")


@check
def temporary_objects_of_other_kinds(conn):
    conn.execute("CREATE TEMP SEQUENCE s START 5; CREATE TEMP VIEW v AS SELECT 6 AS n")
    conn.execute("CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 7'")
    conn.execute("SELECT 8 AS n INTO TEMP into_temp")
    seen = [value(conn, q) for q in ("SELECT nextval('s')", "SELECT n FROM v", "SELECT pg_temp.f()", "SELECT n FROM into_temp")]
    return seen, value(conn, "SELECT nextval('s')")


@check
def sequences_of_the_session(conn):
    conn.execute("CREATE TABLE serial_one (id serial, x int)")
    seen = [fails(conn.execute, "SELECT currval('serial_one_id_seq')"), fails(conn.execute, "SELECT lastval()")]
    conn.execute("INSERT INTO serial_one (x) VALUES (1), (2)")
    time.sleep(0.05)
    seen += [value(conn, "SELECT currval('serial_one_id_seq')"), value(conn, "SELECT lastval()")]
    conn.execute("SELECT setval('serial_one_id_seq', 41)")
    conn.execute("SELECT nextval('serial_one_id_seq')")
    time.sleep(0.05)
    seen.append(value(conn, "SELECT currval('serial_one_id_seq')"))
    with other() as second:
        seen.append(fails(second.execute, "SELECT lastval()"))
    return seen


@check
def listen_and_notify(conn):
    conn.execute("LISTEN news")
    with other() as second:
        second.execute("NOTIFY news, 'one'")
        second.execute("SELECT pg_notify('news', 'two')")
        second.execute("BEGIN; NOTIFY news, 'three'; NOTIFY news, 'three'; COMMIT")
        second.execute("BEGIN; NOTIFY news, 'never'; ROLLBACK")
        second.execute("NOTIFY elsewhere, 'not for us'")
    heard = [(n.channel, n.payload) for n in conn.notifies(timeout=5, stop_after=3)]
    conn.execute("NOTIFY news, 'own'")
    own = [(n.payload, n.pid == conn.info.backend_pid) for n in conn.notifies(timeout=5, stop_after=1)]
    conn.execute("UNLISTEN news")
    conn.execute("NOTIFY news, 'too late'")
    return heard, own, [n.payload for n in conn.notifies(timeout=0.2)]


@check
def advisory_locks(conn):
    conn.execute("SELECT pg_advisory_lock(1), pg_advisory_lock(1), pg_advisory_lock_shared(2)")
    with other() as second:
        seen = [value(second, "SELECT pg_try_advisory_lock(1)"), value(second, "SELECT pg_try_advisory_lock_shared(2)")]
        conn.execute("SELECT pg_advisory_unlock(1)")
        seen.append(value(second, "SELECT pg_try_advisory_lock(1)"))
        seen.append(value(conn, "SELECT pg_advisory_unlock(1)"))
        seen.append(value(second, "SELECT pg_try_advisory_lock(1)"))
        seen.append(value(second, "SELECT pg_advisory_unlock(99)"))
    conn.execute("SELECT pg_advisory_unlock_all()")
    with conn.transaction():
        conn.execute("SELECT pg_advisory_xact_lock(5)")
    with other() as third:
        seen.append([value(third, f"SELECT pg_try_advisory_lock({n})") for n in (1, 2, 5)])
    return seen


@check
def cursors(conn):
    conn.autocommit = False
    with conn.cursor(name="big") as cur:
        cur.execute("SELECT generate_series(1, 5000)")
        first = cur.fetchmany(3)
        rest = sum(1 for _ in cur)
    with conn.cursor(name="jumpy", scrollable=True) as cur:
        cur.execute("SELECT generate_series(1, 10)")
        cur.scroll(8)
        last = cur.fetchall()
        cur.scroll(0, mode="absolute")
        again = cur.fetchone()
    conn.commit()
    return first, rest, last, again


@check
def cursors_with_hold(conn):
    conn.autocommit = False
    with conn.cursor(name="held", withhold=True) as cur:
        cur.execute("SELECT generate_series(1, 100)")
        conn.commit()
        first = cur.fetchmany(2)
        conn.commit()
        seen = [first, cur.fetchmany(2), len(cur.fetchall())]
        conn.commit()
    conn.commit()
    return seen, conn.execute("SELECT name FROM pg_cursors").fetchall()


# --- COPY and large objects -------------------------------------------------------------------------------------


@check
def copy_in_and_out(conn):
    conn.execute("CREATE TABLE copied (id int, name text)")
    with conn.cursor() as cur:
        with cur.copy("COPY copied FROM STDIN") as into:
            for n in range(20000):
                into.write_row((n, None if n == 3 else f"tab\t{n}"))
        status = cur.statusmessage
        with cur.copy("COPY (SELECT id, name FROM copied WHERE id < 5 ORDER BY id) TO STDOUT") as out:
            out.set_types(["int4", "text"])
            rows = list(out.rows())
        with cur.copy("COPY copied TO STDOUT (FORMAT binary)") as out:
            size = sum(len(block) for block in out)
        with cur.copy("COPY copied FROM STDIN (FORMAT binary)") as into:
            into.set_types(["int4", "text"])
            into.write_row((-1, "binary"))
    return status, rows, size, value(conn, "SELECT count(*) FROM copied")


@check
def copy_with_errors(conn):
    conn.execute("CREATE TABLE strict (n int CHECK (n < 100))")
    seen = []

    def rows(values):
        with conn.cursor() as cur, cur.copy("COPY strict FROM STDIN") as into:
            for v in values:
                into.write(f"{v}\n")

    def broken():
        with conn.cursor() as cur, cur.copy("COPY strict FROM STDIN") as into:
            into.write("1\n")
            raise ValueError("the program gives up")

    def half_read():
        with conn.cursor() as cur, cur.copy("COPY (SELECT 1 / (4 - n) FROM generate_series(1, 9) n) TO STDOUT") as out:
            for block in out:
                seen.append(bytes(block))

    seen.append(fails(rows, [1, "x", 3]))
    seen.append(fails(rows, [1, 2, 500] + [3] * 5000))
    seen.append(fails(rows, list(range(3)) * 50000 + ["no number"]))
    try:
        broken()
    except ValueError as exception:
        seen.append(str(exception))
    seen.append(fails(half_read))
    seen.append(fails(conn.execute, "COPY nowhere FROM STDIN"))
    try:
        with conn.cursor() as cur, cur.copy("COPY (SELECT generate_series(1, 1000000)) TO STDOUT") as out:
            seen.append(out.read_row())
            raise ValueError("enough was read")
    except ValueError as exception:
        seen.append(str(exception))
    seen.append(conn.info.transaction_status.name)
    return seen, value(conn, "SELECT count(*) FROM strict")


@check
def large_objects(conn):
    seen = []
    with conn.transaction():
        oid = value(conn, "SELECT lo_create(0)")
        fd = value(conn, "SELECT lo_open(%s, x'60000'::int)", (oid,))
        seen.append(value(conn, "SELECT lowrite(%s, %s)", (fd, b"abc" * 100000)))
        conn.execute("SELECT lo_lseek(%s, 0, 0)", (fd,))
        seen.append(len(value(conn, "SELECT loread(%s, 1000)", (fd,))))
        conn.execute("SELECT lo_close(%s)", (fd,))
    seen.append(len(value(conn, "SELECT lo_get(%s)", (oid,))))
    seen.append(fails(conn.execute, "SELECT loread(0, 10)"))
    return seen, value(conn, "SELECT lo_unlink(%s)", (oid,))


# --- errors, notices, cancel ------------------------------------------------------------------------------------


@check
def fields_of_an_error(conn):
    conn.execute("CREATE TABLE keyed (n int CONSTRAINT keyed_key PRIMARY KEY, s varchar(3) NOT NULL)")
    conn.execute("INSERT INTO keyed VALUES (1, 'a')")
    seen = []
    for sql in (
        "INSERT INTO keyed VALUES (1, 'b')",
        "INSERT INTO keyed VALUES (2, NULL)",
        "INSERT INTO keyed VALUES (3, 'long')",
        "SELECT nothing FROM keyed",
        "SELEC 1",
        "SELECT 'é' || nothing()",
    ):
        try:
            conn.execute(sql)
        except psycopg.Error as e:
            d = e.diag
            fields = (d.severity, d.message_detail, d.message_hint, d.statement_position, d.table_name, d.column_name)
            seen.append((error(e), fields, d.constraint_name, d.context))
    return seen


@check
def notices(conn):
    heard = []
    conn.add_notice_handler(lambda d: heard.append((d.severity, d.sqlstate, d.message_primary, d.message_hint)))
    conn.execute("DROP TABLE IF EXISTS nowhere")
    conn.execute("DO $$BEGIN FOR n IN 1..20 LOOP RAISE NOTICE 'n %', n USING HINT = 'none'; END LOOP; END$$")
    conn.execute("DO $$BEGIN RAISE WARNING 'w'; END$$")
    conn.execute("SET client_min_messages = error")
    conn.execute("DO $$BEGIN RAISE WARNING 'unheard'; END$$")
    conn.execute("COMMIT")
    return len(heard), heard[:2], heard[-1]


@check
def cancel(conn):
    timer = threading.Timer(0.3, conn.cancel)
    timer.start()
    started = time.monotonic()
    seen = fails(conn.execute, "SELECT pg_sleep(30)")
    late = time.monotonic() - started > 15
    conn.cancel()
    time.sleep(0.1)
    return seen, late, value(conn, "SELECT 'still here'")


@check
def cancel_safe_in_a_transaction(conn):
    conn.execute("BEGIN")
    threading.Timer(0.3, conn.cancel_safe).start()
    seen = fails(conn.execute, "SELECT pg_sleep(30)")
    seen2 = conn.info.transaction_status.name
    conn.execute("ROLLBACK")
    return seen, seen2


@check
def statement_and_lock_timeouts(conn):
    conn.execute("CREATE TABLE locked (n int)")
    conn.execute("SET statement_timeout = '100ms'")
    seen = [fails(conn.execute, "SELECT pg_sleep(20)")]
    conn.execute("SET statement_timeout = 0; SET lock_timeout = '100ms'")
    with other() as second:
        second.execute("BEGIN; LOCK TABLE locked")
        seen.append(fails(conn.execute, "SELECT * FROM locked"))
        second.execute("ROLLBACK")
    return seen


@check
def idle_in_transaction(conn):
    conn.execute("SET idle_in_transaction_session_timeout = '200ms'")
    conn.execute("BEGIN")
    conn.execute("SELECT 1")
    time.sleep(0.8)
    return fails(conn.execute, "SELECT 2"), conn.closed


# --- the backend and its end ------------------------------------------------------------------------------------


@check
def backend_pid(conn):
    asked = value(conn, "SELECT pg_backend_pid()")
    time.sleep(0.05)
    with conn.transaction():
        inside = value(conn, "SELECT pg_backend_pid()")
        same = inside == value(conn, "SELECT pg_backend_pid()")
    active = value(conn, "SELECT count(*) FROM pg_stat_activity WHERE pid = %s", (conn.info.backend_pid,))
    return asked == conn.info.backend_pid, same, active


@check
def terminated_by_another(conn):
    with other() as second:
        killed = value(second, "SELECT pg_terminate_backend(%s)", (conn.info.backend_pid,))
    time.sleep(0.2)
    return killed, fails(conn.execute, "SELECT 1"), conn.closed


@check
def terminated_by_itself(conn):
    seen = fails(conn.execute, "SELECT pg_terminate_backend(pg_backend_pid())")
    return seen, conn.closed, fails(conn.execute, "SELECT 1")


@check
def terminated_in_a_transaction(conn):
    conn.execute("BEGIN")
    pid = value(conn, "SELECT pg_backend_pid()")
    with other() as second:
        second.execute("SELECT pg_terminate_backend(%s)", (pid,))
    time.sleep(0.2)
    return fails(conn.execute, "SELECT 1"), conn.closed


@check
def cancelled_by_pid(conn):
    pid = value(conn, "SELECT pg_backend_pid()")

    def cancel_from_elsewhere():
        time.sleep(0.3)
        with other() as second:
            second.execute("""SELECT pg_cancel_backend(pid) FROM pg_stat_activity
                WHERE query LIKE 'SELECT pg_sleep(29)%' AND datname = current_database()""")

    thread = threading.Thread(target=cancel_from_elsewhere)
    thread.start()
    seen = fails(conn.execute, "SELECT pg_sleep(29)")
    thread.join()
    return seen, pid > 0


@check
def reconnects(_):
    seen = 0
    for n in range(30):
        with psycopg.connect() as conn:
            conn.execute("SET work_mem = '1234kB'")
            seen += value(conn, "SELECT %s::int", (n,))
            if n % 3 == 0:
                conn.rollback()
    with other() as conn:
        return seen, value(conn, "SHOW work_mem") == "1234kB"


@check
def what_the_server_says_of_itself(conn):
    names = ["server_version", "server_encoding", "client_encoding", "integer_datetimes", "standard_conforming_strings"]
    names += ["DateStyle", "IntervalStyle", "TimeZone", "is_superuser", "in_hot_standby", "default_transaction_read_only"]
    conn.execute("SET application_name = 'renamed'; SET datestyle = 'SQL, DMY'; SET timezone = 'Asia/Tokyo'")
    names += ["application_name"]
    parameters = [conn.info.parameter_status(name) for name in names]
    listed = value(conn, "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()")
    return parameters, listed, conn.info.server_version // 10000 > 12, conn.info.user == value(conn, "SELECT session_user")


@check
def refused_at_login(_):
    seen = []
    for wrong in ({"password": "wrong"}, {"dbname": "no_such_database"}, {"options": "-c no_such_setting=1"}, {"client_encoding": "martian"}):
        try:
            psycopg.connect(**wrong).close()
            seen.append("let in")
        except psycopg.Error as exception:
            seen.append(str(exception).split("FATAL:")[-1].strip())
    return seen


# --- many at once -----------------------------------------------------------------------------------------------


@check
def eight_clients_over_few_servers(_):
    results = queue.Queue()

    def client(n):
        try:
            with psycopg.connect() as conn:
                conn.prepare_threshold = 2
                conn.execute(f"SET application_name = 'client{n}'")
                conn.commit()
                total = 0
                for k in range(40):
                    total += value(conn, "SELECT %s::int * 2", (k,))
                    name = value(conn, "SELECT current_setting('application_name')")
                    if name != f"client{n}":
                        raise AssertionError(f"client{n} is called {name}")
                    if k % 3 == 0:
                        fails(conn.execute, f"SELECT {n}/0")
                        conn.rollback()
                        continue
                    conn.commit()
                results.put(total)
        except Exception as exception:
            results.put(error(exception))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted((results.get() for _ in threads), key=str)


@check
def eight_clients_keep_their_settings(_):
    results = queue.Queue()

    def client(n):
        try:
            with psycopg.connect(autocommit=True, options=f"-c work_mem={n + 1}MB") as conn:
                wrong = 0
                for k in range(40):
                    conn.execute("BEGIN; SET LOCAL TimeZone = 'Asia/Tokyo'; COMMIT")
                    wrong += value(conn, "SHOW work_mem") != f"{n + 1}MB"
                    wrong += value(conn, "SHOW timezone") == "Asia/Tokyo"
                results.put(wrong)
        except Exception as exception:
            results.put(error(exception))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results.get() for _ in threads]


run()
