//! Acts 1 to 3: a search, a star, an update.

use std::sync::PoisonError;

use super::Error;
use super::measure::{ask, connect, connect_with_notices, shown, timed};
use super::screen::{Act, thousands};
use super::stage::Stage;

/// `%` in front: no index helps, every order is read.
const SEARCH: &str = "SELECT id, ship_to FROM orders WHERE ship_to ILIKE '%lindova, 77%'";
/// What the hint says to do instead.
const BY_PREFIX: &str = "SELECT id, ship_to FROM orders WHERE ship_to LIKE 'Eva Lindova, 77%'";

pub(super) async fn search(stage: &Stage) -> Result<Act, Error> {
    let mut act = Act::new(
        "A search with a wildcard in front, over the big table",
        "No index can serve it: PostgreSQL reads every order. pgsluice refuses it before a server sees it.",
    );
    let direct = connect(&stage.direct()).await.map_err(Error::sql("connecting"))?;
    let (found, slow) = timed(&direct, SEARCH).await;
    let found = found.map_err(Error::sql("searching"))?.rows.len() as u64;
    let read = thousands(stage.orders);
    act.line("direct", Some(slow), format!("{} rows found, {read} read", thousands(found)));

    let through = connect(&stage.through()).await.map_err(Error::sql("connecting"))?;
    ask(&through, "SELECT 1").await?;
    let (refused, quick) = timed(&through, SEARCH).await;
    match refused.as_ref().err().and_then(tokio_postgres::Error::as_db_error) {
        Some(error) => {
            act.line("through pgsluice", Some(quick), "refused");
            act.quote(shown("ERROR", error));
            act.expect(error.code().code() == "42501", || "the refusal has another code than 42501".into());
            act.expect(error.hint().is_some(), || "the refusal says no cure".into());
        }
        None => act.expect(false, || "the search was not refused".into()),
    }
    let (rows, cured) = timed(&through, BY_PREFIX).await;
    let rows = rows.map_err(Error::sql("searching by prefix"))?.rows.len() as u64;
    act.line("by prefix, through pgsluice", Some(cured), format!("{} rows found", thousands(rows)));
    act.expect(rows > 0, || "the search by prefix found nothing".into());
    act.expect(cured < slow, || "the search by prefix was no faster".into());
    Ok(act)
}

pub(super) async fn star(stage: &Stage) -> Result<Act, Error> {
    let mut act = Act::new(
        "SELECT *",
        "It runs, and whoever wrote it learns what is wrong with it, as a NOTICE beside the result.",
    );
    let sql = "SELECT * FROM orders WHERE id = 42";
    let direct = connect(&stage.direct()).await.map_err(Error::sql("connecting"))?;
    let (rows, time) = timed(&direct, sql).await;
    let expected = rows.map_err(Error::sql("reading an order"))?.rows;
    act.line("direct", Some(time), format!("{} row", expected.len()));

    let (through, notices) =
        connect_with_notices(&stage.through()).await.map_err(Error::sql("connecting"))?;
    ask(&through, "SELECT 1").await?;
    let (rows, time) = timed(&through, sql).await;
    let rows = rows.map_err(Error::sql("reading an order"))?.rows;
    let notices = notices.lock().unwrap_or_else(PoisonError::into_inner).clone();
    act.line("through pgsluice", Some(time), format!("{} row, {} notice", rows.len(), notices.len()));
    act.expect(rows == expected, || "the result differs from the direct one".into());
    act.expect(notices.len() == 1, || format!("{} notices came instead of one", notices.len()));
    if let Some(notice) = notices.first() {
        act.quote(shown("NOTICE", notice));
    }
    Ok(act)
}

pub(super) async fn update(stage: &Stage) -> Result<Act, Error> {
    let mut act = Act::new(
        "An UPDATE whose WHERE was forgotten",
        "It would set every price to zero. It is stopped, in a transaction too, and nothing has changed.",
    );
    let sql = "UPDATE products SET price_cents = 0";
    let sum = "SELECT sum(price_cents) FROM products WHERE id > 0";
    let direct = connect(&stage.direct()).await.map_err(Error::sql("connecting"))?;
    let before = ask(&direct, sum).await?.number();

    // What it would have done, undone.
    ask(&direct, "BEGIN").await?;
    let (_, time) = timed(&direct, sql).await;
    let ruined = ask(&direct, sum).await?.number();
    ask(&direct, "ROLLBACK").await?;
    act.line("direct (rolled back here)", Some(time), format!("sum of all prices {}", thousands(ruined)));

    let through = connect(&stage.through()).await.map_err(Error::sql("connecting"))?;
    ask(&through, "BEGIN").await?;
    let (refused, time) = timed(&through, sql).await;
    match refused.as_ref().err().and_then(tokio_postgres::Error::as_db_error) {
        Some(error) => {
            act.quote(shown("ERROR", error));
            act.expect(error.code().code() == "42501", || "the refusal has another code than 42501".into());
        }
        None => act.expect(false, || "the UPDATE was not stopped".into()),
    }
    let (next, _) = timed(&through, "SELECT 1").await;
    let next = next.err().and_then(|e| e.code().map(|c| c.code().to_owned()));
    act.expect(next.as_deref() == Some("25P02"), || format!("the transaction went on: {next:?}"));
    ask(&through, "ROLLBACK").await?;

    let after = ask(&direct, sum).await?.number();
    act.line("through pgsluice", Some(time), format!("sum of all prices {}", thousands(after)));
    act.expect(before == after && before > 0, || format!("prices changed from {before} to {after}"));
    act.expect(ruined == 0, || "the direct UPDATE did not do what was feared".into());
    Ok(act)
}
