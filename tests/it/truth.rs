//! The server has the last word: what the guard calls read-only runs in a read-only transaction and on a replica, and
//! no table that a plan reads is missing among the facts. `PGSLUICE_SEED=… PGSLUICE_ROUNDS=…` generates other
//! statements, or more.

use std::collections::BTreeSet;
use std::time::Duration;

use pgsluice::guard::Kind;
use pgsluice::guard::facts::{self, Facts, ReadOptions};
use proptest::prelude::*;
use tokio_postgres::error::SqlState;

use crate::support::{Session, lab, megabyte};

const SCHEMA: &str = "CREATE TABLE t (id int PRIMARY KEY, a int, b text); CREATE TABLE u (id int, t_id int, b text);
    CREATE SCHEMA s; CREATE TABLE s.v (id int, a int, b text); CREATE TABLE w (id int, b text); CREATE SEQUENCE q;
    INSERT INTO t SELECT g, g % 3, 'x' || g FROM generate_series(1, 20) g; INSERT INTO u SELECT id, a, b FROM t;
    INSERT INTO s.v SELECT id, a, b FROM t; INSERT INTO w SELECT id, b FROM t; SELECT nextval('q');
    CREATE FUNCTION f(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO w VALUES ($1); RETURN $1; END'";

fn reading(sql: &str) -> Option<Facts> {
    let mut reading = facts::read(sql.as_bytes(), &ReadOptions::default());
    (reading.refusal.is_none() && reading.statements.len() == 1).then(|| reading.statements.remove(0))
}

/// Small random numbers from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }
}

/// A number by the schema above; some of them write.
fn number(dice: &mut Dice, depth: u32) -> String {
    match dice.roll(if depth == 0 { 6 } else { 13 }) {
        0 | 1 => "x.id".to_owned(),
        2 => format!("{}", dice.roll(9)),
        3 => dice
            .pick(&["length(x.b)", "abs(-3)", "mod(x.id, 4)", "ascii(x.b)", "coalesce(x.id, 0)"])
            .to_owned(),
        4 => {
            dice.pick(&["nextval('q')::int", "f(1)", "txid_current()::int", "setval('q', 3)::int"]).to_owned()
        }
        5 => dice
            .pick(&["random()::int", "extract(year FROM now())::int", "(SELECT max(id) FROM w)"])
            .to_owned(),
        6 | 7 => format!("({} + {})", number(dice, depth - 1), number(dice, depth - 1)),
        8 => format!("CASE WHEN {} THEN {} ELSE 0 END", condition(dice, depth - 1), number(dice, depth - 1)),
        9 => format!("(SELECT count(*)::int FROM {})", from(dice, depth - 1, "y")),
        10 => format!("greatest({}, 1)", number(dice, depth - 1)),
        11 => format!("(SELECT min(y.id) FROM ({}) y)", select(dice, depth - 1)),
        _ => format!("(WITH k AS ({}) SELECT max(k.id) FROM k)", select(dice, depth - 1)),
    }
}

fn condition(dice: &mut Dice, depth: u32) -> String {
    match dice.roll(if depth == 0 { 4 } else { 8 }) {
        0 => "x.id = 3".to_owned(),
        1 => "x.b LIKE 'x%'".to_owned(),
        2 => "x.id IS NOT NULL".to_owned(),
        3 => "true".to_owned(),
        4 => format!("EXISTS (SELECT FROM {})", from(dice, depth - 1, "y")),
        5 => format!("x.id IN (SELECT y.id FROM ({}) y)", select(dice, depth - 1)),
        6 => format!("({} OR {})", condition(dice, depth - 1), condition(dice, depth - 1)),
        _ => format!("{} < {}", number(dice, depth - 1), number(dice, depth - 1)),
    }
}

fn from(dice: &mut Dice, depth: u32, alias: &str) -> String {
    match dice.roll(if depth == 0 { 5 } else { 8 }) {
        0 => format!("t {alias}"),
        1 => format!("public.u AS {alias}"),
        2 => format!("\"s\".\"v\" {alias}"),
        3 => format!("ONLY w {alias}"),
        4 => format!("generate_series(1, 3) {alias}(id)"),
        5 => format!("({}) {alias}", select(dice, depth - 1)),
        6 => format!("t {alias} JOIN s.v USING (id)"),
        _ => format!("LATERAL ({}) {alias}", select(dice, depth - 1)),
    }
}

/// A query with one column `id`.
fn select(dice: &mut Dice, depth: u32) -> String {
    let base = dice
        .pick(&["t x", "public.u x", "s.v AS x", "ONLY w x", "\"T\\0\" x"])
        .replace("\"T\\0\"", "U&\"\\0074\"");
    let more = if depth > 0 && dice.roll(3) == 0 {
        format!(" CROSS JOIN {}", from(dice, depth - 1, "z"))
    } else {
        String::new()
    };
    let mut sql = format!("SELECT {} AS id FROM {base}{more}", number(dice, depth));
    if dice.roll(2) == 0 {
        sql += &format!(" WHERE {}", condition(dice, depth));
    }
    match dice.roll(if depth == 0 { 3 } else { 9 }) {
        0 => sql += " LIMIT 5",
        1 => sql = format!("({sql} ORDER BY 1)"),
        3 => sql = format!("({sql}) UNION ALL ({})", select(dice, depth - 1)),
        4 => sql = format!("WITH t AS ({}) {sql}", select(dice, depth - 1)),
        5 => sql = format!("WITH k AS (INSERT INTO w SELECT 1, 'n' RETURNING id) {sql}"),
        6 if more.is_empty() => sql += " FOR UPDATE OF x",
        _ => {}
    }
    sql
}

fn statement(dice: &mut Dice) -> String {
    let query = select(dice, 2);
    match dice.roll(12) {
        0 => format!("EXPLAIN {query}"),
        1 => format!("EXPLAIN (ANALYZE, COSTS off) {query}"),
        2 => format!("COPY ({query}) TO STDOUT"),
        3 => format!("CREATE TEMP TABLE n AS {query}"),
        4 => format!("INSERT INTO w (id) {query}"),
        5 => format!("EXPLAIN INSERT INTO w (id) {query}"),
        _ => query,
    }
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn generated() -> Vec<String> {
    let seed = from_environment("PGSLUICE_SEED", 20_260_531);
    println!("PGSLUICE_SEED={seed}");
    let mut dice = Dice(seed.max(1));
    (0..from_environment("PGSLUICE_ROUNDS", 600)).map(|_| statement(&mut dice)).collect()
}

/// The statements of the fixture.
fn known() -> Vec<String> {
    let fixture = include_str!("../fixtures/sql/statements.sql");
    fixture.split("\n\n").skip(1).map(|paragraph| paragraph.trim_matches('\n').to_owned()).collect()
}

/// Runs a statement in a read-only transaction that is rolled back; the error's code.
async fn run_read_only(session: &Session, sql: &str) -> Result<(), SqlState> {
    session.batch_execute("BEGIN READ ONLY; SET LOCAL statement_timeout = '5s'").await.unwrap();
    let outcome = session.simple_query(sql).await.map(drop);
    session.batch_execute("ROLLBACK").await.unwrap();
    outcome.map_err(|error| error.code().cloned().unwrap_or(SqlState::PROTOCOL_VIOLATION))
}

#[tokio::test]
async fn what_is_called_read_only_never_writes() {
    let database = lab().database();
    let owner = database.direct().await;
    owner.batch_execute(SCHEMA).await.unwrap();
    let (mut ran, mut refused_as_write, mut called_read_only) = (0, 0, 0);
    for sql in known().into_iter().chain(generated()) {
        let Some(facts) = reading(&sql) else { panic!("not read: {sql}") };
        if matches!(facts.kind, Kind::Transaction | Kind::Set) || facts.copy == "from stdin" {
            continue;
        }
        let outcome = run_read_only(&owner, &sql).await;
        let is_write = outcome == Err(SqlState::READ_ONLY_SQL_TRANSACTION);
        assert!(!(facts.read_only && is_write), "called read-only, and the server says it writes: {sql}");
        ran += u32::from(outcome.is_ok());
        refused_as_write += u32::from(is_write);
        called_read_only += u32::from(outcome.is_ok() && facts.read_only);
    }
    println!("{ran} ran, {called_read_only} of them called read-only; {refused_as_write} refused as writes");
    // The oracle can say both, and most of what it lets pass is known to be harmless.
    assert!(called_read_only > 50 && refused_as_write > 50 && called_read_only * 2 > ran);
    let rows = owner.text("SELECT count(*) FROM w").await;
    assert_eq!(rows, "20", "nothing was written");
}

#[tokio::test]
async fn what_is_called_read_only_runs_on_a_replica() {
    let database = lab().database();
    let owner = database.direct().await;
    owner.batch_execute(SCHEMA).await.unwrap();
    owner.batch_execute("CREATE TABLE done ()").await.unwrap();
    let replica = loop {
        if let Ok((session, _)) =
            Session::with(&database.url(database.lab.cluster.replicas()[0].port()).parse().unwrap()).await
            && session.batch_execute("TABLE done").await.is_ok()
        {
            break session;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let mut ran = 0;
    for sql in generated() {
        if reading(&sql).is_some_and(|facts| facts.read_only) {
            let outcome = run_read_only(&replica, &sql).await;
            assert_ne!(outcome, Err(SqlState::READ_ONLY_SQL_TRANSACTION), "{sql}");
            ran += u32::from(outcome.is_ok());
        }
    }
    assert!(ran > 50, "{ran}");
}

/// Every relation of a plan.
fn relations(plan: &serde_json::Value, into: &mut BTreeSet<String>) {
    match plan {
        serde_json::Value::Array(items) => items.iter().for_each(|item| relations(item, into)),
        serde_json::Value::Object(fields) => {
            if let Some(name) = fields.get("Relation Name").and_then(serde_json::Value::as_str) {
                into.insert(name.to_owned());
            }
            fields.values().for_each(|value| relations(value, into));
        }
        _ => {}
    }
}

#[tokio::test]
async fn no_table_that_a_plan_reads_is_missing() {
    let database = lab().database();
    let owner = database.direct().await;
    owner.batch_execute(SCHEMA).await.unwrap();
    let mut compared = 0;
    for sql in generated() {
        let facts = reading(&sql).unwrap();
        if facts.explain || facts.kind == Kind::Copy {
            continue;
        }
        let Ok(plan) = owner.try_text(&format!("EXPLAIN (VERBOSE, FORMAT JSON) {sql}")).await else {
            continue;
        };
        let mut planned = BTreeSet::new();
        relations(&serde_json::from_str(&plan).unwrap(), &mut planned);
        let named: BTreeSet<&str> = facts
            .tables
            .iter()
            .map(|table| table.rsplit_once('.').map_or(&**table, |(_, name)| name))
            .collect();
        let missed: Vec<_> = planned.iter().filter(|table| !named.contains(&***table)).collect();
        assert!(missed.is_empty(), "{missed:?} of {:?}: {sql}", facts.tables);
        compared += 1;
    }
    println!("{compared} plans compared");
    assert!(compared > 100, "{compared}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: u32::try_from(from_environment("PGSLUICE_ROUNDS", 400)).unwrap_or(u32::MAX),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever is cut out of a statement or put into it: no panic, and one text has one reading.
    #[test]
    fn a_damaged_statement_is_read_or_refused(
        seed in 1_u64..,
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0_usize..12), 0..4),
    ) {
        const PIECES: [&str; 12] =
            ["", "'", "\"", "$$", "/*", "*/", "--", "(", ")", "\n", "E'\\", " OR 1=1 UNION ALL TABLE w "];
        let mut text = statement(&mut Dice(seed));
        for (from, to, piece) in cuts {
            let mut places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            places.push(text.len());
            let (from, to) = (*from.get(&places), *to.get(&places));
            let end = to.clamp(from, (from + 8).min(text.len()));
            let end = (from..=end).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(from);
            text.replace_range(from..end, PIECES[piece]);
        }
        for standard_conforming_strings in [true, false] {
            let options = ReadOptions { standard_conforming_strings, ..ReadOptions::default() };
            let reading = facts::read(text.as_bytes(), &options);
            prop_assert_eq!(&reading, &facts::read(text.as_bytes(), &options));
            for facts in &reading.statements {
                prop_assert_eq!(facts.read_only, facts.not_read_only.is_empty());
                prop_assert!(!(facts.kind == Kind::Unparsed && (facts.read_only || !facts.opaque)));
            }
        }
    }
}

/// In release a megabyte is read or refused within 50 ms (`cargo bench --bench guard -- megabyte` has the figures). Here
/// any build on a busy machine must do: no text takes many times what a plain list of literals does, in time of the
/// processor.
#[test]
fn no_text_takes_long() {
    let texts = megabyte::texts();
    let (_, list) = texts.iter().find(|(name, _)| *name == "a list").unwrap();
    let (usual, _, refusal) = read_apart(list);
    assert_eq!(refusal, None);
    let bound = usual.max(Duration::from_millis(20)) * 6;
    for (name, text) in &texts {
        assert!(text.len() <= megabyte::MOST, "{name}: {}", text.len());
        let (took, bytes, refusal) = read_apart(text);
        let outcome: String = refusal.as_deref().unwrap_or("read").chars().take(60).collect();
        println!("{:8.1} ms  {bytes:8} B  {name}: {outcome}", took.as_secs_f64() * 1e3);
        assert!(took < bound, "{name}: {took:?}, and a list {usual:?}");
    }
}

/// What a text takes to read, on as small a stack as any thread of the data plane has.
fn read_apart(text: &str) -> (Duration, usize, Option<String>) {
    let text = text.to_owned();
    let reader = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        let now = || {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
        };
        let begun = now();
        let reading = facts::read(text.as_bytes(), &ReadOptions::default());
        (now() - begun, text.len(), reading.refusal.map(|refusal| refusal.to_string()))
    });
    reader.unwrap().join().unwrap()
}
