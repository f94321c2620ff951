//! Two clients, one server connection: no observable state crosses, and none is lost.
//!
//! Random programs that make and look at session state run through pgsluice at the same time over a pool of
//! one, and each alone straight to PostgreSQL. What each client sees must be the same, frame by frame.

use crate::support::{Frame, Raw, Sluice, msg, proxy};

/// The same programs in every run; `PGSLUICE_SEED` and `PGSLUICE_ROUNDS` for others and for more.
const SEED: u64 = 1;
const ROUNDS: u64 = 40;
const STEPS: usize = 25;

/// Splitmix64: enough to choose, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }
}

#[derive(Clone, Debug)]
enum Step {
    Simple(String),
    /// Parse, Bind, Execute under the unnamed names.
    Extended(String),
    Prepare(u8, String),
    Run(u8),
    Close(u8),
}

impl Step {
    fn bytes(&self) -> Vec<u8> {
        let name = |n: &u8| format!("s{n}");
        match self {
            Self::Simple(sql) => msg::query(sql),
            Self::Extended(sql) => [msg::extended(sql, &[]), msg::sync()].concat(),
            // A name in use would be refused either way, but for which of two mistakes depends on who looks first.
            Self::Prepare(n, sql) => {
                [msg::close_statement(&name(n)), msg::parse(&name(n), sql, &[]), msg::sync()].concat()
            }
            Self::Run(n) => [msg::bind("", &name(n), &[]), msg::execute("", 0), msg::sync()].concat(),
            Self::Close(n) => [msg::close_statement(&name(n)), msg::sync()].concat(),
        }
    }
}

/// Texts whose answers depend on nothing but the client's own session. `{n}` is a small number.
const TEXTS: [&str; 64] = [
    "SELECT {n}",
    "SELECT 1/0",
    "SELEC",
    "",
    "SELECT 1; SELECT {n}; SELECT 1/0; SELECT 3",
    "BEGIN",
    "BEGIN",
    "COMMIT",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "SET work_mem = '10{n}kB'",
    "SET LOCAL work_mem = '20{n}kB'",
    "RESET work_mem",
    "SHOW work_mem",
    "SHOW work_mem",
    "SELECT set_config('statement_timeout', '{n}1s', false)",
    "SHOW statement_timeout",
    "SET search_path = s{n}, public",
    "SHOW search_path",
    "SET TIME ZONE 'Etc/GMT+{n}'",
    "SHOW TIME ZONE",
    "SET ROLE pg_monitor",
    "RESET ROLE",
    "SELECT current_user = session_user",
    "CREATE TEMP TABLE tt{n} (n int)",
    "INSERT INTO tt{n} VALUES (1)",
    "SELECT count(*) FROM tt{n}",
    "DROP TABLE tt{n}",
    "PREPARE p{n} AS SELECT {n}",
    "EXECUTE p{n}",
    "DEALLOCATE p{n}",
    "DEALLOCATE ALL",
    "SELECT count(*) FROM pg_prepared_statements WHERE from_sql",
    "DECLARE c{n} CURSOR WITH HOLD FOR SELECT generate_series(1, 3)",
    "FETCH 1 FROM c{n}",
    "CLOSE c{n}",
    "LISTEN ch{n}",
    "UNLISTEN *",
    "SELECT count(*) FROM pg_listening_channels()",
    "SELECT pg_advisory_lock({lock})",
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
    "DISCARD ALL",
    "SELECT set_config('search_path', '', false)",
    "SHOW search_path",
    "RESET ALL",
    "SET work_mem TO DEFAULT",
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SHOW default_transaction_isolation",
    "SET app.tenant = 't{n}'",
    "SELECT coalesce(current_setting('app.tenant', true), '')",
    "SELECT coalesce(current_setting('app.tenant', true), '')",
    "DO $$BEGIN PERFORM set_config('work_mem', '30{n}kB', false); END$$",
    "DO $$BEGIN SET statement_timeout = '4{n}s'; END$$",
    "SELECT tenant('f{n}')",
    "SELECT tenant('f{n}')",
    "RELEASE s",
    "SELECT pg_advisory_unlock({lock})",
    "SELECT count(*) FROM pg_prepared_statements",
    "SELECT count(*) FROM pg_cursors",
    "DISCARD TEMP",
    "SELECT extract(month FROM date '01/02/2003')::text",
    "SET datestyle = 'ISO, DMY'",
];

fn program(dice: &mut Dice, client: usize) -> Vec<Step> {
    (0..STEPS)
        .map(|_| {
            let n = u8::try_from(1 + dice.roll(3)).unwrap();
            // Locks of the two clients never meet: waiting for each other would be a result of its own.
            let lock = (client * 10 + usize::from(n)).to_string();
            let text = TEXTS[dice.roll(TEXTS.len())].replace("{n}", &n.to_string()).replace("{lock}", &lock);
            match dice.roll(10) {
                0..5 => Step::Simple(text),
                5..7 => Step::Extended(text),
                7 => Step::Prepare(n, text),
                8 => Step::Run(n),
                _ => Step::Close(n),
            }
        })
        .collect()
}

/// What a client can see of an answer. Notices carry no state; a position is the server's business.
fn visible(frame: &Frame) -> Option<String> {
    match frame.tag {
        b'N' => None,
        b'E' => Some(format!("E {}", frame.field(b'C').unwrap_or_default())),
        b'D' => Some(format!("D {:?}", frame.columns())),
        b'C' => Some(format!("C {}", frame.text())),
        // Sent when a value changes, which depends on where a server comes from; SHOW is what counts.
        b'S' => None,
        b'Z' => Some(format!("Z {}", char::from(frame.body[0]))),
        tag => Some(char::from(tag).to_string()),
    }
}

async fn run(mut raw: Raw, steps: &[Step], mut dice: Dice) -> Vec<(String, Vec<String>)> {
    let mut seen = Vec::new();
    for step in steps {
        raw.send(&step.bytes()).await;
        let frames = raw.until_ready().await;
        seen.push((format!("{step:?}"), frames.iter().filter_map(visible).collect()));
        if dice.roll(3) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(dice.roll(4) as u64)).await;
        }
    }
    raw.send(&msg::terminate()).await;
    raw.until_closed().await;
    seen
}

async fn round(sluice: &Sluice, seed: u64) {
    let mut dice = Dice(seed);
    let programs = [program(&mut dice, 0), program(&mut dice, 1)];
    let (one, two) = (sluice.raw().await, sluice.raw().await);
    let through = tokio::join!(run(one, &programs[0], Dice(seed)), run(two, &programs[1], Dice(!seed)));
    for (steps, through) in programs.iter().zip([through.0, through.1]) {
        let alone = run(sluice.database.raw_direct().await, steps, Dice(seed)).await;
        for (n, (through, alone)) in through.iter().zip(&alone).enumerate() {
            assert_eq!(
                through, alone,
                "seed {seed}, step {n}; left through pgsluice, right alone\n{steps:#?}"
            );
        }
    }
}

#[tokio::test]
async fn two_clients_see_what_each_would_see_alone() {
    let number = |name| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let seed = number("PGSLUICE_SEED").unwrap_or(SEED);
    let rounds = number("PGSLUICE_ROUNDS").unwrap_or(ROUNDS);
    println!("PGSLUICE_SEED={seed} PGSLUICE_ROUNDS={rounds}");
    let sluice = proxy().pool_size(1).start();
    let grant = format!("GRANT pg_monitor TO {}", sluice.database.user);
    sluice.database.admin().await.batch_execute(&grant).await.unwrap();
    // State that is made where no text shows it.
    let function = "CREATE FUNCTION tenant(who text) RETURNS text LANGUAGE sql VOLATILE AS
                    $$SELECT set_config('app.tenant', who, false)$$";
    sluice.database.direct().await.batch_execute(function).await.unwrap();
    for n in 0..rounds {
        round(&sluice, seed.wrapping_add(n)).await;
    }
}
