"""What an asyncio program does with a database, through whatever the PG... variables point at."""

import asyncio

import psycopg

from report import VALUES, check, error, fails_async, run_async

connect = psycopg.AsyncConnection.connect


async def value(conn, sql, params=None, **named):
    row = await (await conn.execute(sql, params, **named)).fetchone()
    return row[0] if row else None


@check
async def rows_and_types(conn):
    seen = []
    for kind, sent in VALUES:
        back = await value(conn, f"SELECT %s::{kind}", (sent,), binary=True)
        seen.append(back == sent or (back != back and sent != sent) or repr(back))
    return seen


@check
async def transactions(conn):
    await conn.execute("CREATE TABLE t (n int PRIMARY KEY)")
    async with conn.transaction():
        for n in (1, 1, 2):
            try:
                async with conn.transaction():
                    await conn.execute("INSERT INTO t VALUES (%s)", (n,))
            except psycopg.errors.UniqueViolation:
                pass
    try:
        async with conn.transaction():
            await conn.execute("INSERT INTO t VALUES (3)")
            raise ValueError
    except ValueError:
        pass
    return await value(conn, "SELECT array_agg(n ORDER BY n) FROM t")


@check
async def many_statements_prepared(conn):
    conn.prepare_threshold = 0
    conn.prepared_max = 20
    return sum([await value(conn, f"SELECT {n % 70} + %s::int", (1,)) for n in range(300)])


@check
async def copy(conn):
    await conn.execute("CREATE TABLE copied (n int, s text)")
    async with conn.cursor() as cur:
        async with cur.copy("COPY copied FROM STDIN") as into:
            for n in range(5000):
                await into.write_row((n, f"row {n}"))
        async with cur.copy("COPY copied TO STDOUT") as out:
            size = sum([len(block) async for block in out])
        bad = "no error"
        try:
            async with cur.copy("COPY copied (n) FROM STDIN") as into:
                await into.write("1\n" * 10000 + "x\n")
        except psycopg.Error as exception:
            bad = error(exception)
    return size, bad, await value(conn, "SELECT count(*) FROM copied")


@check
async def server_side_cursor(conn):
    async with conn.transaction():
        async with conn.cursor(name="many") as cur:
            cur.itersize = 100
            await cur.execute("SELECT generate_series(1, 1000)")
            return sum([row[0] async for row in cur])


@check
async def listens_while_others_speak(conn):
    await conn.execute("LISTEN news")

    async def speak(n):
        async with await connect(autocommit=True) as second:
            await second.execute("SELECT pg_notify('news', %s)", (str(n),))

    await asyncio.gather(*(speak(n) for n in range(10)))
    heard = [n.payload async for n in conn.notifies(timeout=5, stop_after=10)]
    return sorted(heard, key=int)


@check
async def cancelled_task(conn):
    task = asyncio.create_task(conn.execute("SELECT pg_sleep(30)"))
    await asyncio.sleep(0.3)
    task.cancel()
    try:
        await task
        seen = "no error"
    except asyncio.CancelledError:
        seen = "cancelled"
    return seen, await value(conn, "SELECT 'still here'")


@check
async def cancel(conn):
    async def later():
        await asyncio.sleep(0.3)
        await conn.cancel_safe()

    seen = await asyncio.gather(fails_async(conn.execute("SELECT pg_sleep(30)")), later())
    return seen[0]


@check
async def cancel_hits_one_of_many(_):
    conns = [await connect(autocommit=True) for _ in range(3)]
    sleeps = [asyncio.create_task(fails_async(conn.execute("SELECT pg_sleep(1)"))) for conn in conns]
    await asyncio.sleep(0.2)
    await conns[1].cancel_safe()
    seen = [await sleep for sleep in sleeps]
    for conn in conns:
        await conn.close()
    return [text.startswith("no error") or text for text in seen]


@check
async def thirty_tasks_over_few_servers(_):
    async def one(n):
        async with await connect(autocommit=True) as conn:
            await conn.execute("SET application_name = %s" % f"task{n}")
            for _ in range(5):
                await asyncio.sleep(0.01)
                if await value(conn, "SHOW application_name") != f"task{n}":
                    return "another's name"
            return await value(conn, "SELECT %s::int * 2", (n,))

    return await asyncio.gather(*(one(n) for n in range(30)))


@check
async def a_program_that_leaves_in_the_middle(_):
    for n in range(8):
        conn = await connect()
        await conn.execute("SELECT 1")
        task = asyncio.create_task(conn.execute("SELECT pg_sleep(0.2)"))
        await asyncio.sleep(0.02)
        if n % 2:
            conn.pgconn.finish()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await conn.close()
    async with await connect() as conn:
        return await value(conn, "SELECT 'next'")


run_async()
