//! A big table without an index and with it: refused, and let through once the index is there.

use std::time::{Duration, Instant};

use super::clients::runtime;
use super::peers::{DATABASE, Lab, PASSWORD, USER};
use super::raw::Raw;
use super::table;

const RULES: &str = "[[rule]]\nname = 'scan'\nfinds = 'full-scan-of-big-table'\naction = 'block'\n";
const TTL: Duration = Duration::from_secs(5);
const SCAN: &str = "SELECT id FROM events WHERE email = 'a77@example.com'";
const CREATE: &str = "CREATE INDEX events_email ON events (email)";

pub fn run(lab: &Lab, rows: u64) {
    eprintln!("a table of {rows} rows");
    let fill = format!(
        "CREATE TABLE events (id bigint PRIMARY KEY, email text, at timestamptz);
         INSERT INTO events SELECT n, 'a' || n || '@example.com', now() FROM generate_series(1, {rows}) n;
         ALTER TABLE events OWNER TO {USER}"
    );
    lab.cluster.sql(DATABASE, &fill).unwrap();
    lab.cluster.sql(DATABASE, "VACUUM ANALYZE events").unwrap();
    let settings =
        format!("[plan]\nttl = \"{}s\"\ndeadline = \"1s\"\n[catalog]\nrefresh = \"1s\"\n", TTL.as_secs());
    let peer = lab.start_ruled("index", RULES, &settings);
    let started = Instant::now();
    let rows_of_table = runtime().block_on(async {
        let mut through = Raw::login(peer.port, USER, PASSWORD, DATABASE, &[]).await.unwrap();
        let mut direct = Raw::login(lab.direct().port, USER, PASSWORD, DATABASE, &[]).await.unwrap();
        for client in [&mut through, &mut direct] {
            client.patience = Duration::from_secs(600);
        }
        let known = until(&mut through, true, started).await;
        let scan = took(&mut direct, SCAN).await;
        let refused = took(&mut through, SCAN).await;
        let built = took(&mut through, CREATE).await;
        let at_once = until(&mut through, false, Instant::now()).await;
        let found = took(&mut through, SCAN).await;
        through.query("DROP INDEX events_email").await;
        let again = until(&mut through, true, Instant::now()).await;
        // Planned anew once more before anybody can see the index, so that the plan is young.
        direct.query("BEGIN").await;
        direct.query(CREATE).await;
        until(&mut through, true, Instant::now()).await;
        direct.query("COMMIT").await;
        let behind = until(&mut through, false, Instant::now()).await;
        assert!(behind < TTL + Duration::from_secs(2), "the index was made {behind:?} ago");
        vec![
            ("the scan itself, on the server", scan),
            ("refused, from the start of the program (its size must be known)", known),
            ("the refusal", refused),
            ("CREATE INDEX through pgsluice", built),
            ("let through after it", at_once),
            ("the statement then", found),
            ("refused again after DROP INDEX through pgsluice", again),
            ("let through after CREATE INDEX behind its back (the plan is good for 5 s)", behind),
        ]
    });
    let millis = |took: Duration| format!("{:.2}", took.as_secs_f64() * 1e3);
    let table: Vec<Vec<String>> =
        rows_of_table.into_iter().map(|(what, took)| vec![what.into(), millis(took)]).collect();
    table::print(&format!("A table of {rows} rows, its index missing and made"), &["", "ms"], &table);
}

async fn took(client: &mut Raw, sql: &str) -> Duration {
    let start = Instant::now();
    client.query(sql).await;
    start.elapsed()
}

/// Waits until the scan is refused, or is not. -> time since `from`
async fn until(client: &mut Raw, refused: bool, from: Instant) -> Duration {
    loop {
        let is_refused = client.query(SCAN).await.iter().any(|frame| frame.tag == b'E');
        if is_refused == refused {
            return from.elapsed();
        }
        assert!(from.elapsed() < Duration::from_secs(60), "refused: {is_refused}, for a minute");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
