"""What a Python program does with a database, through whatever the PG... variables point at."""

import asyncio
import threading
import time

import psycopg
from psycopg.rows import dict_row


def basics(conn):
    conn.execute("CREATE TABLE item (id int PRIMARY KEY, name text, tags text[], price numeric)")
    for n in range(10):
        conn.execute("INSERT INTO item VALUES (%s, %s, %s, %s)", (n, f"item {n}", ["a", str(n)], n * 1.5))
    conn.commit()
    with conn.cursor(row_factory=dict_row) as cur:
        row = cur.execute("SELECT * FROM item WHERE id = %s", (7,)).fetchone()
        assert row["name"] == "item 7" and row["tags"] == ["a", "7"], row
    with conn.cursor(binary=True) as cur:
        assert cur.execute("SELECT sum(id) FROM item").fetchone() == (45,)
    conn.commit()


def prepared(conn):
    """psycopg prepares what it has sent five times."""
    for n in range(20):
        assert conn.execute("SELECT %s::int + 1", (n,)).fetchone() == (n + 1,)
        conn.commit()


def errors(conn):
    try:
        conn.execute("SELECT 1/0")
        raise AssertionError("no error")
    except psycopg.errors.DivisionByZero:
        pass
    try:
        conn.execute("SELECT 1")
        raise AssertionError("no error")
    except psycopg.errors.InFailedSqlTransaction:
        pass
    conn.rollback()
    with conn.transaction():
        try:
            with conn.transaction():
                conn.execute("INSERT INTO item VALUES (1)")
        except psycopg.errors.UniqueViolation:
            pass
        conn.execute("INSERT INTO item VALUES (100)")
    assert conn.execute("SELECT count(*) FROM item").fetchone() == (11,)
    conn.commit()


def many(conn):
    with conn.cursor() as cur:
        cur.executemany("INSERT INTO item (id) VALUES (%s)", [(n,) for n in range(200, 300)])
    conn.commit()
    with conn.pipeline():
        cursors = [conn.execute("SELECT %s::int", (n,)) for n in range(50)]
    assert [c.fetchone()[0] for c in cursors] == list(range(50))
    conn.commit()


def copy(conn):
    with conn.cursor() as cur:
        with cur.copy("COPY item (id, name) FROM STDIN") as out:
            for n in range(1000, 2000):
                out.write_row((n, f"copied {n}"))
        with cur.copy("COPY (SELECT id FROM item WHERE id >= 1000 ORDER BY id) TO STDOUT") as rows:
            assert [int(r[0]) for r in rows.rows()] == list(range(1000, 2000))
    conn.commit()


def cursors(conn):
    with conn.cursor(name="big") as cur:
        cur.execute("SELECT generate_series(1, 5000)")
        assert cur.fetchmany(10) == [(n,) for n in range(1, 11)]
        assert sum(1 for _ in cur) == 4990
    conn.commit()


def cancel(conn):
    timer = threading.Timer(0.3, conn.cancel)
    timer.start()
    started = time.monotonic()
    try:
        conn.execute("SELECT pg_sleep(30)")
        raise AssertionError("not cancelled")
    except psycopg.errors.QueryCanceled:
        assert time.monotonic() - started < 20
    conn.rollback()


async def in_asyncio():
    async def one(n):
        async with await psycopg.AsyncConnection.connect(autocommit=True) as conn:
            cur = await conn.execute("SELECT %s::int * 2", (n,))
            return (await cur.fetchone())[0]

    assert await asyncio.gather(*(one(n) for n in range(20))) == [n * 2 for n in range(20)]


def main():
    with psycopg.connect() as conn:
        for part in (basics, prepared, errors, many, copy, cursors, cancel):
            part(conn)
            print(part.__name__, "works")
    asyncio.run(in_asyncio())
    print("all of it works")


main()
