//! Act 4: a report over all rows, beside a shop that is open.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::Error;
use super::measure::{Latencies, ask, connect, cpu_of_server, timed};
use super::screen::{Act, milliseconds};
use super::stage::Stage;

/// Reads every order.
const REPORT: &str =
    "SELECT state, quantity, count(*), sum(total_cents), max(placed_at) FROM orders GROUP BY state, quantity";
/// How often the report runs in each round.
const REPORTS: u32 = 2;
/// Fewer point queries than this say nothing.
const ENOUGH: usize = 20;

/// What happened while reports ran one way.
struct Round {
    latencies: Latencies,
    report: Duration,
    /// CPU time of the primary's processes.
    cpu: Duration,
    /// How often the report was seen at work on (primary, replica).
    seen: (u32, u32),
}

pub(super) async fn report(stage: &Stage) -> Result<Act, Error> {
    let mut act = Act::new(
        "A report over all orders while the shop is open",
        "pgsluice sends it to the replica by itself; the primary goes on serving the shop.",
    );
    let alone = quiet(stage).await?;
    let direct = round(stage, &stage.direct()).await?;
    let through = round(stage, &stage.through()).await?;
    let lookups = |l: &Latencies| {
        format!(
            "{} look-ups, median {}, p99 {}",
            l.len(),
            milliseconds(l.quantile(0.5)),
            milliseconds(l.quantile(0.99))
        )
    };
    act.line("the shop alone", None, lookups(&alone));
    act.line("report direct on the primary", Some(direct.report), lookups(&direct.latencies));
    act.line("   CPU time of the primary meanwhile", Some(direct.cpu), "");
    act.line("report through pgsluice", Some(through.report), lookups(&through.latencies));
    act.line("   CPU time of the primary meanwhile", Some(through.cpu), "");
    let (on_primary, on_replica) = through.seen;
    act.line(
        "   seen at work",
        None,
        format!("{on_replica} times on the replica, {on_primary} on the primary"),
    );
    act.quote("Both servers share this machine's processors here.".into());
    act.expect(on_replica > 0, || "the report was not seen on the replica".into());
    act.expect(on_primary == 0, || "the report was seen on the primary".into());
    act.expect(direct.seen.0 > 0, || "the direct report was not seen on the primary".into());
    act.expect(through.cpu < direct.cpu, || "the primary worked no less than with the report on it".into());
    let (before, during) = (alone.quantile(0.5), through.latencies.quantile(0.5));
    act.expect(through.latencies.len() >= ENOUGH, || "too few look-ups were answered".into());
    act.expect(during <= before * 3 + Duration::from_millis(2), || {
        format!("the median look-up went from {} to {}", milliseconds(before), milliseconds(during))
    });
    Ok(act)
}

/// Look-ups with nothing beside them.
async fn quiet(stage: &Stage) -> Result<Latencies, Error> {
    let end = Instant::now() + Duration::from_millis(1500);
    look_up(stage, || Instant::now() > end).await
}

/// Reports one after the other over `url`, look-ups through pgsluice beside them.
async fn round(stage: &Stage, url: &str) -> Result<Round, Error> {
    let reporter = connect(url).await.map_err(Error::sql("connecting"))?;
    let primary = connect(&stage.primary_admin()).await.map_err(Error::sql("connecting"))?;
    let replica = connect(&stage.replica_admin()).await.map_err(Error::sql("connecting"))?;
    let before = cpu_of_server(stage.primary_pid());
    let done = std::cell::Cell::new(false);
    let reports = async {
        let mut total = Duration::ZERO;
        for _ in 0..REPORTS {
            let (outcome, time) = timed(&reporter, REPORT).await;
            if let Err(error) = outcome {
                done.set(true);
                return Err(Error::sql("the report")(error));
            }
            total += time;
        }
        done.set(true);
        Ok(total / REPORTS)
    };
    let watch = async {
        let mut seen = (0, 0);
        while !done.get() {
            seen.0 += u32::from(at_work(&primary).await?);
            seen.1 += u32::from(at_work(&replica).await?);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok::<_, Error>(seen)
    };
    let (report, seen, latencies) = tokio::join!(reports, watch, look_up(stage, || done.get()));
    let cpu = cpu_of_server(stage.primary_pid()).saturating_sub(before);
    Ok(Round { latencies: latencies?, report: report?, cpu, seen: seen? })
}

/// Does the report run there now?
async fn at_work(admin: &Client) -> Result<bool, Error> {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT state, quantity%'";
    Ok(ask(admin, sql).await?.number() > 0)
}

/// What the shop does all day: one order by its number, every few milliseconds.
async fn look_up(stage: &Stage, done: impl Fn() -> bool) -> Result<Latencies, Error> {
    let client = connect(&stage.through()).await.map_err(Error::sql("connecting"))?;
    let sql = "SELECT total_cents, state FROM orders WHERE id = $1";
    let statement = client.prepare(sql).await.map_err(Error::sql("preparing a look-up"))?;
    let mut latencies = Latencies::default();
    let mut id: u64 = 1;
    while !done() {
        id = (id * 48_271 + 11) % stage.orders;
        let key = i64::try_from(id).unwrap_or(0) + 1;
        let start = Instant::now();
        client.query_one(&statement, &[&key]).await.map_err(Error::sql("a look-up"))?;
        latencies.add(start.elapsed());
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    Ok(latencies)
}
