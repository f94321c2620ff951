//! What is asked of a database, and how it becomes the [`State`].
//!
//! Which relations and indexes there are, and how large, is asked whole each time: a row of some 100 bytes each.
//! Columns, definitions of indexes and of views are asked for those only that changed since: a row whose `xmin` is
//! not older than the oldest transaction that ran at the last reading. Nothing here takes a lock on a table but
//! `pg_get_viewdef`, which is why it is asked with a short `lock_timeout` and may fail.

use std::pin::pin;

use futures_util::TryStreamExt as _;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use super::state::{Oid, Relation, State};
use crate::guard::catalog::{Column, Index, Volatility};
use crate::guard::plan::CUTS;

/// The schemas that are PostgreSQL's own, and temporary ones, are left out.
const OURS: &str = "n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') \
                    AND n.nspname !~ '^pg_(toast_)?temp_'";

/// Reads what changed. -> something changed that a rule could see.
pub(super) async fn refresh(client: &Client, state: &mut State, max_tables: usize) -> Result<bool, String> {
    state.search_path(&text(client, "SHOW search_path").await?);
    // From here on no name can mean anything but PostgreSQL's own.
    let settings = "SET search_path = pg_catalog; SET lock_timeout = '200ms'; SET DateStyle = 'ISO, MDY'; SET TimeZone = 'UTC'";
    client.batch_execute(settings).await.map_err(say)?;
    let horizon = text(client, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text").await?;
    let since = state.horizon().map(str::to_owned);
    let relations = relations(client).await?;
    if relations.len() > max_tables {
        return Err(format!(
            "{} tables, more than catalog.max_tables = {max_tables}: nothing is known of them",
            relations.len()
        ));
    }
    let mut changed = state.relations(relations);
    for (child, parent) in pairs(client).await? {
        state.child_of(child, parent);
    }
    changed |= columns(client, state, since.as_deref()).await?;
    changed |= indexes(client, state, since.as_deref()).await?;
    widths(client, state).await?;
    cuts(client, state).await?;
    changed |= hypopg(client, state).await?;
    changed |= views(client, state, since.as_deref()).await?;
    changed |= functions(client, state).await?;
    state.read_up_to(horizon);
    Ok(changed)
}

async fn relations(client: &Client) -> Result<Vec<(Oid, Relation)>, String> {
    let sql = format!(
        "SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.relispartition, pg_get_userbyid(c.relowner), \
                c.reltuples::float8, c.relpages::int8 * current_setting('block_size')::int8, c.relrowsecurity, \
                pg_stat_get_live_tuples(c.oid), pg_stat_get_dead_tuples(c.oid), \
                extract(epoch FROM greatest(pg_stat_get_last_analyze_time(c.oid), \
                                            pg_stat_get_last_autoanalyze_time(c.oid)))::int8 \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {OURS}"
    );
    let mut found = Vec::new();
    each(client, &sql, &[], |row| {
        let relation = Relation {
            schema: row.try_get(1)?,
            name: row.try_get(2)?,
            kind: match (row.try_get(3)?, row.try_get(4)?) {
                ("r", true) => "partition",
                ("p", _) => "partitioned",
                ("v", _) => "view",
                ("m", _) => "materialized view",
                ("f", _) => "foreign table",
                _ => "table",
            },
            owner: row.try_get(5)?,
            tuples: row.try_get(6)?,
            bytes: row.try_get(7)?,
            row_security: row.try_get(8)?,
            live: row.try_get(9)?,
            dead: row.try_get(10)?,
            analyzed: row.try_get(11)?,
        };
        found.push((row.try_get(0)?, relation));
        Ok(())
    })
    .await?;
    Ok(found)
}

/// Partitions (and inheriting tables) with their parents.
async fn pairs(client: &Client) -> Result<Vec<(Oid, Oid)>, String> {
    let mut found = Vec::new();
    each(client, "SELECT inhrelid, inhparent FROM pg_inherits", &[], |row| {
        found.push((row.try_get(0)?, row.try_get(1)?));
        Ok(())
    })
    .await?;
    Ok(found)
}

/// `age(xmin)` counts back from now, so that a transaction that is not older has no greater age. A row frozen long ago
/// keeps its `xmin`; after two billion transactions it may look new and is read once more.
fn newer(row: &str) -> String {
    format!("($1::text IS NULL OR age({row}.xmin) <= age($1::text::xid))")
}

async fn columns(client: &Client, state: &mut State, since: Option<&str>) -> Result<bool, String> {
    let sql = format!(
        "SELECT a.attrelid, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attisdropped \
         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE a.attnum > 0 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {OURS} AND {}",
        newer("a")
    );
    let mut changed = false;
    each(client, &sql, &[&since], |row| {
        let column = Column {
            name: row.try_get(2)?,
            type_name: row.try_get(3)?,
            not_null: row.try_get(4)?,
            width: None,
            cuts: None,
        };
        let dropped: bool = row.try_get(5)?;
        changed |= state.column(row.try_get(0)?, row.try_get(1)?, (!dropped).then_some(column));
        Ok(())
    })
    .await?;
    Ok(changed)
}

async fn indexes(client: &Client, state: &mut State, since: Option<&str>) -> Result<bool, String> {
    let all = format!(
        "SELECT i.indexrelid, i.indrelid, pg_stat_get_numscans(i.indexrelid) \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {OURS}"
    );
    let mut present = Vec::new();
    each(client, &all, &[], |row| {
        present.push((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
        Ok(())
    })
    .await?;
    let mut changed = state.indexes(&present);
    // A column that is renamed changes no row of pg_index.
    let touched: Vec<Oid> = state.touched();
    let sql = format!(
        "SELECT i.indexrelid, i.indrelid, ic.relname, am.amname, i.indisunique, i.indisprimary, \
                i.indisvalid AND i.indisready, \
                ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, true) FROM generate_series(1, i.indnkeyatts::int) k), \
                pg_get_expr(i.indpred, i.indrelid, true) \
         FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_am am ON am.oid = ic.relam \
              JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE {OURS} AND ({} OR {} OR i.indrelid = ANY($2))",
        newer("i"),
        newer("ic")
    );
    each(client, &sql, &[&since, &touched], |row| {
        let index = Index {
            name: row.try_get(2)?,
            columns: row.try_get::<_, Vec<Option<String>>>(7)?.into_iter().flatten().collect(),
            method: row.try_get(3)?,
            unique: row.try_get(4)?,
            primary: row.try_get(5)?,
            valid: row.try_get(6)?,
            predicate: row.try_get(8)?,
            scans: None,
        };
        changed |= state.index(row.try_get(0)?, row.try_get(1)?, index);
        Ok(())
    })
    .await?;
    Ok(changed)
}

/// Average widths come with the statistics of each ANALYZE. Only some roles may read them whole.
async fn widths(client: &Client, state: &mut State) -> Result<(), String> {
    if state.widths_forbidden() {
        return Ok(());
    }
    let since = state.horizon().map(str::to_owned);
    let sql = format!("SELECT s.starelid, s.staattnum, s.stawidth FROM pg_statistic s WHERE {}", newer("s"));
    let mut found: Vec<(Oid, i16, i32)> = Vec::new();
    let asked = stream(client, &sql, &[&since], |row| {
        found.push((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
        Ok(())
    })
    .await;
    match asked {
        Ok(()) => found.into_iter().for_each(|(table, column, width)| state.width(table, column, width)),
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => state.forbid_widths(),
        Err(error) => return Err(say(error)),
    }
    Ok(())
}

/// Where the values of big tables' columns lie, of those whose statistics are new: a few hundred tables each time, the
/// largest first. What the login may not read is not there, and values of such a column all count as alike.
async fn cuts(client: &Client, state: &mut State) -> Result<(), String> {
    let wanted = state.cuts_wanted();
    if wanted.is_empty() {
        return Ok(());
    }
    let (mut oids, mut schemas, mut names): (Vec<Oid>, Vec<&str>, Vec<&str>) = Default::default();
    for (oid, schema, name) in &wanted {
        oids.push(*oid);
        schemas.push(schema);
        names.push(name);
    }
    let shares: Vec<f64> = CUTS.to_vec();
    // Of smallint, integer, bigint, real, double precision, numeric, date, timestamp, timestamptz.
    let sql = "SELECT w.oid, a.attnum, ARRAY(SELECT h.bounds[1 + round((cardinality(h.bounds) - 1) * p)::int] \
                                             FROM unnest($4::float8[]) p) \
               FROM unnest($1::oid[], $2::text[], $3::text[]) AS w(oid, schema, name) \
                    JOIN pg_stats s ON s.schemaname = w.schema::name AND s.tablename = w.name::name \
                    JOIN pg_attribute a ON a.attrelid = w.oid AND a.attname = s.attname \
                    CROSS JOIN LATERAL (SELECT s.histogram_bounds::text::text[] AS bounds) h \
               WHERE a.atttypid IN (20, 21, 23, 700, 701, 1700, 1082, 1114, 1184) \
                     AND cardinality(h.bounds) > 1";
    let mut found: Vec<(Oid, i16, Vec<Option<String>>)> = Vec::new();
    each(client, sql, &[&oids, &schemas, &names, &shares], |row| {
        found.push((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
        Ok(())
    })
    .await?;
    state.cuts(&oids, found);
    Ok(())
}

async fn hypopg(client: &Client, state: &mut State) -> Result<bool, String> {
    let sql = "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'hypopg'";
    let row = client.query_opt(sql, &[]).await.map_err(say)?;
    let schema: Option<String> = row.map(|row| row.try_get(0)).transpose().map_err(say)?;
    Ok(state.hypopg(schema))
}

/// Views are written out by a function that locks what they read; one that is locked stays unknown till next time.
async fn views(client: &Client, state: &mut State, since: Option<&str>) -> Result<bool, String> {
    let sql = format!(
        "SELECT DISTINCT c.oid FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('v', 'm') AND {OURS} AND {}",
        newer("r")
    );
    let mut asked = state.views_wanted();
    each(client, &sql, &[&since], |row| {
        asked.push(row.try_get(0)?);
        Ok(())
    })
    .await?;
    asked.sort_unstable();
    asked.dedup();
    let mut changed = false;
    for view in asked {
        let definition = client.query_opt("SELECT pg_get_viewdef($1::oid, true)", &[&view]).await;
        match definition {
            Ok(row) => {
                let text = row.and_then(|row| row.try_get::<_, Option<String>>(0).ok().flatten());
                changed |= state.view(view, text);
            }
            Err(error) if error.code().is_some() => state.want_view(view),
            Err(error) => return Err(say(error)),
        }
    }
    Ok(changed)
}

async fn functions(client: &Client, state: &mut State) -> Result<bool, String> {
    let sign = format!(
        "SELECT count(*)::text || ' ' || coalesce(sum(hashtext(p.oid::text || ' ' || p.xmin::text)::int8), 0)::text \
         FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {OURS}"
    );
    let sign = text(client, &sign).await?;
    if !state.functions_changed(&sign) {
        return Ok(false);
    }
    // One that PostgreSQL has itself with the same arguments is not meant by its bare name (pgcrypto's gen_random_uuid).
    let sql = format!(
        "SELECT n.nspname || '.' || p.proname, p.provolatile::text \
         FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {OURS} \
         AND NOT EXISTS (SELECT FROM pg_proc b WHERE b.pronamespace = 'pg_catalog'::regnamespace \
                         AND b.proname = p.proname AND b.proargtypes = p.proargtypes)"
    );
    let mut found = Vec::new();
    each(client, &sql, &[], |row| {
        let volatility = match row.try_get(1)? {
            "i" => Volatility::Immutable,
            "s" => Volatility::Stable,
            _ => Volatility::Volatile,
        };
        found.push((row.try_get(0)?, volatility));
        Ok(())
    })
    .await?;
    Ok(state.functions(found))
}

async fn text(client: &Client, sql: &str) -> Result<String, String> {
    client.query_one(sql, &[]).await.and_then(|row| row.try_get(0)).map_err(say)
}

async fn each(
    client: &Client,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
    take: impl FnMut(&Row) -> Result<(), tokio_postgres::Error>,
) -> Result<(), String> {
    stream(client, sql, parameters, take).await.map_err(say)
}

/// Row by row: a large catalog is never in memory twice.
async fn stream(
    client: &Client,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
    mut take: impl FnMut(&Row) -> Result<(), tokio_postgres::Error>,
) -> Result<(), tokio_postgres::Error> {
    let parameters = parameters.iter().map(|parameter| *parameter as &(dyn ToSql + Sync));
    let mut rows = pin!(client.query_raw(sql, parameters).await?);
    while let Some(row) = rows.try_next().await? {
        take(&row)?;
    }
    Ok(())
}

fn say(error: tokio_postgres::Error) -> String {
    crate::control::topology::sentence(error)
}
