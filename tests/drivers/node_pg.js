// What a Node program does with a database, through whatever the PG... variables point at.
// One line per check: its name, a tab, and what a program would see.
'use strict'

const { Client, Pool, Query } = require('pg')
const Cursor = require('pg-cursor')
const { from: copyFrom, to: copyTo } = require('pg-copy-streams')
const { pipeline } = require('node:stream/promises')
const { Readable } = require('node:stream')

const checks = []
const check = (name, body) => checks.push([name, body])
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const say = (error) => `${error.code || error.name} ${error.message}`
const fails = (promise) => promise.then((r) => `no error: ${JSON.stringify(r.rows ?? r)}`, say)

async function connected(options = {}) {
  const client = new Client(options)
  client.broken = []
  client.on('error', (error) => client.broken.push(say(error)))
  await client.connect()
  return client
}

async function withOther(body, options) {
  const other = await connected(options)
  try {
    return await body(other)
  } finally {
    await other.end()
  }
}

const value = async (client, text, values) => {
  const { rows } = await client.query({ text, values, rowMode: 'array' })
  return rows.length ? rows[0][0] : null
}

// --- rows and types

check('rows and fields', async (c) => {
  await c.query('CREATE TABLE item (id int PRIMARY KEY, name text, at timestamptz, data jsonb, tags text[])')
  const sent = [1, "it's", new Date(Date.UTC(2024, 1, 29, 12, 30, 1, 5)), { a: [1, null] }, ['x', 'y,z', null]]
  await c.query('INSERT INTO item VALUES ($1, $2, $3, $4, $5)', sent)
  const result = await c.query('SELECT * FROM item WHERE id = $1', [1])
  return [result.rows, result.command, result.rowCount, result.fields.map((f) => [f.name, f.dataTypeID, f.format])]
})

check('types back and forth', async (c) => {
  const seen = []
  for (const [type, sent] of [
    ['int', 2147483647],
    ['bigint', '9223372036854775807'],
    ['numeric', '1234567890123456789.123456789'],
    ['float8', 0.1],
    ['bool', true],
    ['text', 'snow ☃ \\ \' " \t'],
    ['text', ''],
    ['text', null],
    ['bytea', Buffer.from([0, 1, 254, 255])],
    ['int[]', [1, null, 3]],
    ['json', JSON.stringify({ deep: [{}] })],
    ['interval', '3 days 04:05:06.7'],
  ]) {
    seen.push(await value(c, `SELECT $1::${type}`, [sent]))
  }
  const binary = await c.query({ text: 'SELECT $1::int AS n, $2::text AS t', values: [7, 'x'], binary: true })
  return [seen, binary.rows]
})

check('rows larger than any buffer', async (c) => {
  const sent = 'x'.repeat(3000000)
  const back = await value(c, 'SELECT $1::text || $2', [sent, 'y'])
  const rows = await c.query("SELECT repeat('z', 1000000) AS z FROM generate_series(1, 5)")
  return [back.length, rows.rows.map((r) => r.z.length)]
})

check('several statements in one text', async (c) => {
  const results = await c.query('SELECT 1 AS a; CREATE TABLE several (n int); INSERT INTO several VALUES (1), (2); SELECT 3 AS b')
  return [results.map((r) => [r.command, r.rowCount, r.rows]), await fails(c.query('SELECT 1; SELECT 1/0; SELECT 2'))]
})

check('empty queries', async (c) => [(await c.query('')).rows, (await c.query(';')).command, (await c.query('', [])).rows])

check('an error in every way', async (c) => {
  await c.query('CREATE TABLE keyed (n int CONSTRAINT k PRIMARY KEY)')
  await c.query('INSERT INTO keyed VALUES (1)')
  const seen = []
  for (const [text, values] of [
    ['INSERT INTO keyed VALUES (1)'],
    ['INSERT INTO keyed VALUES ($1)', [1]],
    ['SELECT nothing'],
    ['SELEC $1', [1]],
    ['SELECT $1::int', ['x']],
    ['SELECT $1', [1, 2]],
  ]) {
    seen.push(await c.query(text, values).catch((e) => [e.code, e.message, e.detail, e.position, e.constraint, e.table, e.severity]))
  }
  return [seen, await value(c, "SELECT 'goes on'")]
})

// --- transactions

check('transactions and savepoints', async (c) => {
  await c.query('CREATE TABLE save (n int PRIMARY KEY)')
  await c.query('BEGIN')
  await c.query('INSERT INTO save VALUES ($1)', [1])
  await c.query('SAVEPOINT s')
  const seen = [await fails(c.query('INSERT INTO save VALUES ($1)', [1])), await fails(c.query('SELECT 1'))]
  await c.query('ROLLBACK TO SAVEPOINT s')
  await c.query('INSERT INTO save VALUES ($1)', [2])
  await c.query('COMMIT')
  await c.query('BEGIN')
  await c.query('INSERT INTO save VALUES (3)')
  await c.query('ROLLBACK')
  await c.query('BEGIN; INSERT INTO save VALUES (4)')
  seen.push(await fails(c.query('SELECT 1/0')))
  seen.push((await c.query('COMMIT')).command)
  return [seen, await value(c, 'SELECT array_agg(n ORDER BY n) FROM save')]
})

check('queued queries', async (c) => {
  const promises = []
  for (let n = 0; n < 100; n++) promises.push(fails(c.query(n % 10 ? 'SELECT $1::int AS n' : 'SELECT 1/$1::int', [n % 10])))
  const seen = await Promise.all(promises)
  return [seen.slice(0, 12), seen.filter((s) => s.includes('division')).length]
})

// --- prepared statements

check('named statements', async (c) => {
  const seen = []
  for (let n = 0; n < 3; n++) seen.push((await c.query({ name: 'one', text: 'SELECT $1::int + 1 AS n', values: [n] })).rows[0].n)
  seen.push(await fails(c.query({ name: 'one', text: 'SELECT 2', values: [] })))
  seen.push(await fails(c.query({ name: 'bad', text: 'SELEC', values: [] })))
  seen.push(await fails(c.query({ name: 'bad', text: 'SELECT 5 AS five', values: [] })))
  return seen
})

check('a name that two clients use', async (c) =>
  withOther(async (other) => {
    const seen = []
    for (let n = 0; n < 6; n++) {
      seen.push((await c.query({ name: 'same', text: 'SELECT $1::int AS mine', values: [n] })).rows[0])
      seen.push((await other.query({ name: 'same', text: 'SELECT $1::text AS theirs', values: [n] })).rows[0])
    }
    return seen
  })
)

check('many named statements', async (c) => {
  let sum = 0
  for (let round = 0; round < 2; round++)
    for (let n = 0; n < 300; n++) sum += (await c.query({ name: `many ${n}`, text: `SELECT ${n} + $1::int AS n`, values: [1] })).rows[0].n
  return sum
})

check('named statements of the protocol beside those of SQL', async (c) => {
  await c.query({ name: 'proto', text: 'SELECT $1::int * 3 AS n', values: [1] })
  const seen = [await fails(c.query('EXECUTE proto(5)')), await fails(c.query('PREPARE proto AS SELECT 1'))]
  await c.query('PREPARE texted (int) AS SELECT $1 * 4 AS n')
  seen.push(await value(c, 'SELECT string_agg(name, $1 ORDER BY name) FROM pg_prepared_statements', [',']))
  await c.query('DEALLOCATE proto')
  seen.push(await fails(c.query({ name: 'proto', text: 'SELECT $1::int * 3 AS n', values: [1] })))
  await c.query('DEALLOCATE ALL')
  seen.push(await fails(c.query('EXECUTE texted(1)')))
  return seen
})

check('a plan whose result changes', async (c) => {
  await c.query('CREATE TABLE shape (a int)')
  await c.query('INSERT INTO shape VALUES (1)')
  const q = { name: 'shape', text: 'SELECT * FROM shape', values: [] }
  const seen = [await fails(c.query(q))]
  await c.query('ALTER TABLE shape ADD b text')
  seen.push(await fails(c.query(q)), await fails(c.query('SELECT * FROM shape')))
  return seen
})

// --- session

check('settings', async (c) => {
  const seen = []
  await c.query("SET work_mem = '3MB'; SET search_path = pg_catalog; SET TimeZone = 'Asia/Tokyo'")
  await sleep(20)
  seen.push(await value(c, 'SHOW work_mem'), await value(c, 'SHOW search_path'), await value(c, "SELECT '2024-01-01 00:00Z'::timestamptz::text"))
  await c.query('BEGIN')
  await c.query("SET work_mem = '4MB'")
  await c.query('ROLLBACK')
  seen.push(await value(c, 'SHOW work_mem'))
  await c.query('RESET ALL')
  return [seen, await value(c, 'SHOW search_path')]
})

check('settings of the connection', async () => {
  const options = { application_name: 'noder', statement_timeout: 12345, lock_timeout: 54321, options: '-c work_mem=7MB', idle_in_transaction_session_timeout: 60000 }
  return withOther(async (c) => {
    const shown = async () => Promise.all(['application_name', 'statement_timeout', 'lock_timeout', 'work_mem', 'idle_in_transaction_session_timeout'].map((n) => value(c, `SHOW ${n}`)))
    const before = await shown()
    await c.query("SET work_mem = '8MB'; SET application_name = 'other'; SET statement_timeout = 0")
    const changed = await shown()
    await c.query('RESET work_mem; RESET application_name; RESET statement_timeout')
    return [before, changed, await shown()]
  }, options)
})

check('parameter status', async (c) => {
  const heard = []
  c.connection.on('parameterStatus', (m) => heard.push([m.parameterName, m.parameterValue]))
  await c.query("SET application_name = 'x'")
  await c.query("BEGIN; SET TimeZone = 'Asia/Tokyo'; ROLLBACK")
  await c.query("SET DateStyle = 'German'")
  return heard
})

check('temporary tables', async (c) => {
  await c.query('CREATE TEMP TABLE mine (n int)')
  await c.query('INSERT INTO mine VALUES (1), (2)')
  await sleep(20)
  const hidden = await withOther((other) => fails(other.query('SELECT * FROM mine')))
  return [hidden, await value(c, 'SELECT count(*) FROM mine')]
})

check('listen and notify', async (c) => {
  const heard = []
  c.on('notification', (n) => heard.push([n.channel, n.payload, n.processId === c.processID]))
  await c.query('LISTEN news')
  await withOther(async (other) => {
    await other.query("NOTIFY news, 'one'")
    await other.query('SELECT pg_notify($1, $2)', ['news', 'two'])
  })
  await c.query("NOTIFY news, 'own'")
  for (let n = 0; n < 100 && heard.length < 3; n++) await sleep(20)
  await c.query('UNLISTEN *')
  await c.query("NOTIFY news, 'late'")
  return heard
})

check('advisory locks', async (c) => {
  await c.query('SELECT pg_advisory_lock(5)')
  await sleep(20)
  return withOther(async (other) => {
    const seen = [await value(other, 'SELECT pg_try_advisory_lock(5)')]
    seen.push(await value(c, 'SELECT pg_advisory_unlock(5)'), await value(other, 'SELECT pg_try_advisory_lock(5)'))
    return seen
  })
})

check('notices', async (c) => {
  const heard = []
  c.on('notice', (n) => heard.push([n.severity, n.code, n.message]))
  await c.query('DROP TABLE IF EXISTS nowhere')
  await c.query("DO $$BEGIN RAISE WARNING 'careful'; END$$")
  await c.query('ROLLBACK')
  return heard
})

// --- cursors and COPY

check('cursors of the protocol', async (c) => {
  const seen = []
  await c.query('BEGIN')
  const cursor = c.query(new Cursor('SELECT n FROM generate_series(1, $1::int) n', [25]))
  for (;;) {
    const rows = await cursor.read(10)
    seen.push(rows.length)
    if (!rows.length) break
  }
  await cursor.close()
  await c.query('COMMIT')
  const early = c.query(new Cursor('SELECT n FROM generate_series(1, 100) n'))
  seen.push((await early.read(3)).map((r) => r.n))
  await early.close()
  const broken = c.query(new Cursor('SELECT 1/(3-n) AS n FROM generate_series(1, 9) n'))
  seen.push(await fails(broken.read(2)), await fails(broken.read(2)))
  return [seen, await value(c, "SELECT 'usable'")]
})

check('portals with row limits', async (c) => {
  const query = new Query({ text: 'SELECT n FROM generate_series(1, 1000) n', rows: 7, values: [] })
  const counts = await new Promise((resolve, reject) => {
    let rows = 0
    query.on('row', () => rows++)
    query.on('end', () => resolve(rows))
    query.on('error', reject)
    c.query(query)
  })
  return counts
})

check('cursors with hold', async (c) => {
  await c.query('BEGIN; DECLARE held CURSOR WITH HOLD FOR SELECT generate_series(1, 10) AS n; COMMIT')
  await sleep(20)
  const first = (await c.query('FETCH 2 FROM held')).rows
  await sleep(20)
  const rest = (await c.query('FETCH ALL FROM held')).rowCount
  await c.query('CLOSE held')
  return [first, rest, await fails(c.query('FETCH held'))]
})

check('copy in and out', async (c) => {
  await c.query('CREATE TABLE copied (n int, s text)')
  const lines = Readable.from((function* () { for (let n = 0; n < 20000; n++) yield `${n}\trow ${n}\n` })())
  const into = c.query(copyFrom('COPY copied FROM STDIN'))
  await pipeline(lines, into)
  let size = 0
  for await (const block of c.query(copyTo('COPY copied TO STDOUT'))) size += block.length
  const bad = c.query(copyFrom('COPY copied (n) FROM STDIN'))
  const error = await fails(pipeline(Readable.from(['1\n', 'x\n', '3\n'.repeat(30000)]), bad))
  return [into.rowCount, size, error, await value(c, 'SELECT count(*) FROM copied')]
})

// --- ends of all kinds

check('backend pid', async (c) => {
  const asked = await value(c, 'SELECT pg_backend_pid()')
  await sleep(20)
  return [asked === c.processID, await value(c, 'SELECT count(*) FROM pg_stat_activity WHERE pid = $1', [c.processID])]
})

check('killed by its pid while idle', async (c) => {
  await c.query('SELECT 1')
  const killed = await withOther((other) => value(other, 'SELECT pg_terminate_backend($1)', [c.processID]))
  for (let n = 0; n < 50 && !c.broken.length; n++) await sleep(20)
  await sleep(50)
  return [killed, c.broken[0], await fails(c.query('SELECT 1'))]
})

check('killed by the pid the server told', async (c) => {
  const pid = await value(c, 'SELECT pg_backend_pid()')
  await withOther((other) => other.query('SELECT pg_terminate_backend($1)', [pid]))
  for (let n = 0; n < 50 && !c.broken.length; n++) await sleep(20)
  await sleep(50)
  return [c.broken[0], await fails(c.query('SELECT 1'))]
})

check('killed in a query', async (c) => {
  const seen = await fails(c.query('SELECT pg_terminate_backend(pg_backend_pid())'))
  await sleep(50)
  return [seen, c.broken, await fails(c.query('SELECT 1'))]
})

check('statement timeout', async (c) => {
  await c.query("SET statement_timeout = '100ms'")
  return [await fails(c.query('SELECT pg_sleep(10)')), await value(c, 'SHOW statement_timeout')]
})

check('refused at login', async () => {
  const seen = []
  for (const wrong of [{ password: 'wrong' }, { database: 'no_such_database' }, { options: '-c nothing=1' }]) {
    seen.push(await fails(new Client(wrong).connect()))
  }
  return seen
})

check('reconnects', async () => {
  let sum = 0
  for (let n = 0; n < 30; n++) sum += await withOther((c) => value(c, 'SELECT $1::int', [n]))
  return sum
})

check('a pool of eight over few servers', async () => {
  const pool = new Pool({ max: 8 })
  const one = async (n) => {
    const client = await pool.connect()
    try {
      await client.query('BEGIN')
      await client.query(`SET LOCAL application_name = 'c${n}'`)
      if (n % 5 === 0) await client.query('SELECT 1/0').catch(() => {})
      else if ((await value(client, 'SHOW application_name')) !== `c${n}`) return 'wrong name'
      await client.query(n % 2 ? 'COMMIT' : 'ROLLBACK')
      return (await client.query({ name: `p${n % 9}`, text: `SELECT ${n % 9} + $1::int AS n`, values: [n] })).rows[0].n
    } finally {
      client.release()
    }
  }
  const seen = await Promise.all(Array.from({ length: 200 }, (_, n) => one(n)))
  await pool.end()
  return [seen.reduce((a, b) => a + b), pool.totalCount]
})

check('a pool whose clients vanish', async () => {
  const pool = new Pool({ max: 4 })
  pool.on('error', () => {})
  for (let n = 0; n < 12; n++) {
    const client = await pool.connect()
    client.on('error', () => {})
    await client.query('BEGIN')
    client.query('SELECT pg_sleep(0.1)').catch(() => {})
    await sleep(5)
    client.connection.stream.destroy()
    client.release(true)
  }
  const seen = (await pool.query("SELECT 'fine' AS so")).rows
  await pool.end()
  return seen
})

async function main() {
  for (const [name, body] of checks) {
    let seen
    try {
      const client = await connected()
      try {
        const late = sleep(30000).then(() => { throw new Error('not done after 30 seconds') })
        seen = JSON.stringify(await Promise.race([body(client), late]))
      } finally {
        client.end().catch(() => {})
      }
    } catch (error) {
      const line = /node_pg\.js:(\d+)/.exec(error.stack)
      seen = `raised in line ${line ? line[1] : '?'}: ${say(error)}`
    }
    process.stdout.write(`${name}\t${seen.replaceAll('\n', '\\n')}\n`)
  }
  process.exit(0)
}

main()
