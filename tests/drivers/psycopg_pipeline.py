"""Many requests on the way at once, through whatever the PG... variables point at."""

import psycopg
from psycopg import pq

from report import check, error, fails, run


def results(pgconn, count):
    """The status of each result until that many have been seen, a synchronisation point being one."""
    seen = []
    while len(seen) < count:
        result = pgconn.get_result()
        if result is not None:
            status = pq.ExecStatus(result.status).name
            state = result.error_field(pq.DiagnosticField.SQLSTATE)
            seen.append((status, state.decode()) if state else status)
    return seen


@check
def fifty_at_once(conn):
    with conn.pipeline():
        cursors = [conn.execute("SELECT %s::int", (n,)) for n in range(50)]
    return sum(c.fetchone()[0] for c in cursors)


@check
def prepared_on_the_way(conn):
    conn.prepare_threshold = 2
    with conn.pipeline():
        cursors = [conn.execute("SELECT %s::int + %s::int", (n, 1)) for n in range(30)]
        others = [conn.execute(f"SELECT {n} * %s::int", (n,), prepare=True) for n in range(150)]
    return sum(c.fetchone()[0] for c in cursors), sum(c.fetchone()[0] for c in others)


@check
def an_error_in_the_middle(conn):
    conn.execute("CREATE TABLE t (n int PRIMARY KEY)")
    seen = []
    try:
        with conn.pipeline() as pipeline:
            first = conn.execute("INSERT INTO t VALUES (1) RETURNING n")
            conn.execute("INSERT INTO t VALUES (1)")
            # The error may be heard here already, or only at the end.
            conn.execute("INSERT INTO t VALUES (2)")
            pipeline.sync()
    except psycopg.Error as exception:
        seen.append(error(exception))
    seen.append(first.fetchone())
    return seen, conn.execute("SELECT array_agg(n ORDER BY n) FROM t").fetchone()


@check
def an_error_and_on_after_the_sync(conn):
    seen = []
    with conn.pipeline() as pipeline:
        for sql in ("SELECT 1", "SELECT 1/0", "SELECT 3", "SELEC"):
            cur = conn.cursor()
            try:
                cur.execute(sql)
                pipeline.sync()
                seen.append(cur.fetchone())
            except psycopg.Error as exception:
                seen.append(error(exception))
    return seen


@check
def a_transaction_in_a_pipeline(conn):
    conn.execute("CREATE TABLE u (n int)")
    with conn.pipeline(), conn.transaction():
        conn.execute("INSERT INTO u VALUES (1)")
        conn.execute("SAVEPOINT s")
        conn.execute("INSERT INTO u VALUES (2)")
        conn.execute("ROLLBACK TO s")
        conn.execute("INSERT INTO u VALUES (3)")
    return conn.execute("SELECT array_agg(n ORDER BY n) FROM u").fetchone()


@check
def settings_in_a_pipeline(conn):
    with conn.pipeline():
        conn.execute("SET work_mem = '3MB'")
        first = conn.execute("SHOW work_mem")
        conn.execute("SET work_mem = '4MB'")
        second = conn.execute("SHOW work_mem")
    with conn.pipeline() as pipeline:
        third = conn.execute("SHOW work_mem")
        conn.execute("RESET work_mem")
        pipeline.sync()
        fourth = conn.execute("SELECT current_setting('work_mem')")
        conn.execute("SET work_mem = '5MB'")
        bad = fails(lambda: conn.execute("SELECT 1/0").fetchall())
    return [c.fetchone()[0] for c in (first, second, third, fourth)], bad, conn.execute("SHOW work_mem").fetchone()


@check
def rows_larger_than_any_buffer(conn):
    with conn.pipeline():
        cursors = [conn.execute("SELECT repeat('x', 500000) || %s::text", ("y" * 200000,)) for _ in range(10)]
    return [len(c.fetchone()[0]) for c in cursors]


@check
def many_inserts(conn):
    conn.execute("CREATE TABLE many (n int, s text)")
    with conn.pipeline(), conn.cursor() as cur:
        cur.executemany("INSERT INTO many VALUES (%s, %s) RETURNING n", [(n, "s" * n) for n in range(500)], returning=True)
        seen = sum(row[0] for _ in range(500) for row in [cur.fetchone()] if cur.nextset() or True)
    return seen, conn.execute("SELECT count(*), sum(length(s)) FROM many").fetchone()


@check
def frames_by_hand(conn):
    pgconn = conn.pgconn
    pgconn.enter_pipeline_mode()
    pgconn.nonblocking = 0
    pgconn.send_prepare(b"mine", b"SELECT $1::int * 10")
    pgconn.send_query_prepared(b"mine", [b"4"])
    pgconn.send_describe_prepared(b"mine")
    pgconn.send_query_params(b"SELECT 1/$1::int", [b"0"])
    pgconn.send_query_prepared(b"mine", [b"5"])
    pgconn.pipeline_sync()
    pgconn.send_query_prepared(b"mine", [b"6"])
    pgconn.send_prepare(b"mine", b"SELECT 2")
    pgconn.pipeline_sync()
    pgconn.send_query_prepared(b"mine", [b"7"])
    pgconn.send_query_prepared(b"nowhere", [])
    pgconn.pipeline_sync()
    seen = results(pgconn, 12)
    pgconn.exit_pipeline_mode()
    return seen


@check
def flushed_before_the_sync(conn):
    """What was asked for with a Flush comes before the Sync is sent."""
    pgconn = conn.pgconn
    pgconn.enter_pipeline_mode()
    pgconn.nonblocking = 0
    pgconn.send_query_params(b"SELECT $1::int", [b"1"])
    pgconn.send_flush_request()
    seen = results(pgconn, 1)
    pgconn.send_query_params(b"SELECT $1::int, pg_sleep(0.1)", [b"2"])
    pgconn.send_flush_request()
    seen += results(pgconn, 1)
    pgconn.pipeline_sync()
    seen += results(pgconn, 1)
    pgconn.exit_pipeline_mode()
    return seen


@check
def copy_in_a_pipeline_is_refused(conn):
    with conn.pipeline():
        seen = fails(lambda: conn.cursor().copy("COPY (SELECT 1) TO STDOUT").__enter__())
    return seen, conn.execute("SELECT 'usable'").fetchone()


@check
def without_autocommit(conn):
    conn.autocommit = False
    conn.execute("CREATE TABLE w (n int)")
    conn.commit()
    with conn.pipeline():
        conn.execute("INSERT INTO w VALUES (1)")
        conn.commit()
        conn.execute("INSERT INTO w VALUES (2)")
        conn.rollback()
        conn.execute("INSERT INTO w VALUES (3)")
    conn.commit()
    return conn.execute("SELECT array_agg(n ORDER BY n) FROM w").fetchone()


run()
