//! What a Rust program does with a database.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, IsolationLevel, NoTls, SimpleQueryMessage};

use super::compare::{Both, Seen, impersonal, judge};
use crate::support::{Session, Sluice, direct};

/// What a check says: anything that is the same on every run.
type Said = Result<String, Error>;

fn say(error: &Error) -> String {
    error.as_db_error().map_or_else(
        || if error.is_closed() { "closed".into() } else { error.to_string() },
        |e| format!("{} {} {:?} {:?}", e.code().code(), e.message(), e.detail(), e.position()),
    )
}

fn said<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => say(&error),
    }
}

/// The first column of every row.
async fn column(client: &Client, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<i32>, Error> {
    Ok(client.query(sql, values).await?.iter().map(|row| row.get(0)).collect())
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

macro_rules! checks {
    ($sluice:expr, $($name:ident),* $(,)?) => {{
        let mut seen = Seen::new();
        $(
            let mut session = $sluice.connect().await;
            let result = tokio::time::timeout(Duration::from_secs(30), $name(&mut session, $sluice)).await;
            let text = match result {
                Ok(Ok(text)) => text,
                Ok(Err(error)) => format!("raised: {}", say(&error)),
                Err(_) => "raised: not done after 30 seconds".into(),
            };
            drop(session);
            seen.push((stringify!($name).to_owned(), impersonal(&text, $sluice)));
        )*
        seen
    }};
}

async fn see(sluice: &Sluice) -> Seen {
    checks!(
        sluice,
        types,
        transactions,
        isolation,
        many_statements,
        one_statement_of_many_clients,
        changed_plan,
        statements_of_sql,
        a_hundred_at_once,
        errors_among_many_at_once,
        portals,
        a_stream_left_early,
        copy_in,
        copy_out,
        simple_queries,
        settings,
        roles,
        temporary_tables,
        notifications,
        notices,
        locks,
        cancel,
        cancel_of_nothing,
        timeouts,
        killed,
        dropped_in_a_transaction,
        thirty_clients,
    )
}

#[tokio::test]
async fn tokio_postgres_sees_no_difference() {
    if direct() {
        return;
    }
    let both = Both::start();
    let (direct, through) = tokio::join!(see(&both.direct), see(&both.through));
    judge("tokio_postgres", &direct, &through);
}

async fn types(c: &mut Session, _: &Sluice) -> Said {
    let sql = "SELECT $1::int, $2::text, $3::bytea, $4::float8, $5::bool, $6::int[], $7::bigint";
    let list = vec![Some(1), None, Some(3)];
    let bytes: Vec<u8> = (0..=255).collect();
    let row = c.query_one(sql, &[&7, &"snow ☃", &bytes, &0.1f64, &true, &list, &i64::MIN]).await?;
    let big = c.query_one("SELECT $1::text || 'y'", &[&"x".repeat(3_000_000)]).await?;
    Ok(format!(
        "{} {} {} {} {} {:?} {} {} {:?}",
        row.get::<_, i32>(0),
        row.get::<_, &str>(1),
        row.get::<_, Vec<u8>>(2) == bytes,
        row.get::<_, f64>(3),
        row.get::<_, bool>(4),
        row.get::<_, Vec<Option<i32>>>(5),
        row.get::<_, i64>(6),
        big.get::<_, &str>(0).len(),
        row.columns().iter().map(|c| c.type_().name()).collect::<Vec<_>>(),
    ))
}

async fn transactions(c: &mut Session, _: &Sluice) -> Said {
    c.batch_execute("CREATE TABLE save (n int PRIMARY KEY)").await?;
    let mut outer = c.transaction().await?;
    outer.execute("INSERT INTO save VALUES ($1)", &[&1]).await?;
    let inner = outer.transaction().await?;
    let twice = said(inner.execute("INSERT INTO save VALUES ($1)", &[&1]).await);
    let aborted = said(inner.query("SELECT 1", &[]).await.map(|r| r.len()));
    inner.rollback().await?;
    let named = outer.savepoint("named").await?;
    named.execute("INSERT INTO save VALUES (2)", &[]).await?;
    named.commit().await?;
    outer.commit().await?;
    let dropped = c.transaction().await?;
    dropped.execute("INSERT INTO save VALUES (3)", &[]).await?;
    drop(dropped);
    Ok(format!("{twice} {aborted} {:?}", column(c, "SELECT n FROM save ORDER BY n", &[]).await?))
}

async fn isolation(c: &mut Session, _: &Sluice) -> Said {
    let build = c.build_transaction().isolation_level(IsolationLevel::Serializable).read_only(true);
    let t = build.deferrable(true).start().await?;
    let level: String = t.query_one("SELECT current_setting('transaction_isolation')", &[]).await?.get(0);
    let refused = said(t.batch_execute("CREATE TABLE never (n int)").await);
    t.rollback().await?;
    Ok(format!("{level} {refused} {}", c.try_text("SHOW transaction_isolation").await?))
}

async fn many_statements(c: &mut Session, _: &Sluice) -> Said {
    let mut statements = Vec::new();
    for n in 0..200 {
        statements.push(c.prepare(&format!("SELECT {n} + $1::int")).await?);
    }
    let mut sum = 0;
    for round in 0..3 {
        for statement in &statements {
            sum += c.query_one(statement, &[&round]).await?.get::<_, i32>(0);
        }
    }
    statements.truncate(100);
    pause().await;
    for statement in &statements {
        sum += c.query_one(statement, &[&1]).await?.get::<_, i32>(0);
    }
    let listed = c.try_text("SELECT count(*) FROM pg_prepared_statements").await?;
    Ok(format!("{sum} {listed}"))
}

/// The driver calls its statements s0, s1, … in every connection.
async fn one_statement_of_many_clients(c: &mut Session, sluice: &Sluice) -> Said {
    let other = sluice.connect().await;
    let mine = c.prepare("SELECT $1::int * 2").await?;
    let theirs = other.prepare_typed("SELECT $1::text || 'x'", &[Type::TEXT]).await?;
    let mut seen = Vec::new();
    for n in 0..5 {
        seen.push(c.query_one(&mine, &[&n]).await?.get::<_, i32>(0).to_string());
        seen.push(other.query_one(&theirs, &[&"t"]).await?.get(0));
    }
    Ok(format!("{seen:?}"))
}

async fn changed_plan(c: &mut Session, _: &Sluice) -> Said {
    c.batch_execute("CREATE TABLE shape (a int); INSERT INTO shape VALUES (1)").await?;
    let statement = c.prepare("SELECT * FROM shape").await?;
    let first = said(c.query(&statement, &[]).await.map(|r| r[0].len()));
    c.batch_execute("ALTER TABLE shape ADD b int").await?;
    let second = said(c.query(&statement, &[]).await.map(|r| r[0].len()));
    c.batch_execute("DROP TABLE shape").await?;
    Ok(format!("{first} {second} {}", said(c.query(&statement, &[]).await.map(|r| r.len()))))
}

async fn statements_of_sql(c: &mut Session, _: &Sluice) -> Said {
    c.batch_execute("PREPARE one (int) AS SELECT $1 + 1").await?;
    pause().await;
    let seen = c.try_text("EXECUTE one(4)").await?;
    let kept = c.prepare("SELECT 5").await?;
    c.batch_execute("DEALLOCATE ALL").await?;
    // The driver numbers its statements over all connections of the process.
    let gone = said(c.query(&kept, &[]).await.map(|r| r.len())).replace(|c: char| c.is_ascii_digit(), "");
    Ok(format!("{seen} {gone} {}", said(c.batch_execute("EXECUTE one(4)").await)))
}

async fn a_hundred_at_once(c: &mut Session, _: &Sluice) -> Said {
    let statement = c.prepare("SELECT $1::int").await?;
    let values: Vec<i32> = (0..100).collect();
    let queries = values.iter().map(|n| {
        let statement = &statement;
        let client: &Client = c;
        async move { client.query_one(statement, &[n]).await.map(|row| row.get::<_, i32>(0)) }
    });
    let seen: Vec<_> = futures_util::stream::iter(queries).buffered(50).collect().await;
    Ok(format!("{:?}", seen.into_iter().collect::<Result<Vec<_>, _>>()?.iter().sum::<i32>()))
}

async fn errors_among_many_at_once(c: &mut Session, _: &Sluice) -> Said {
    let statement = c.prepare("SELECT 10 / $1::int").await?;
    let values: Vec<i32> = (0..30).map(|n| n % 6).collect();
    let queries = values.iter().map(|n| {
        let statement = &statement;
        let client: &Client = c;
        async move { said(client.query_one(statement, &[n]).await.map(|row| row.get::<_, i32>(0))) }
    });
    let seen: Vec<_> = futures_util::stream::iter(queries).buffered(30).collect().await;
    Ok(format!("{seen:?}"))
}

async fn portals(c: &mut Session, _: &Sluice) -> Said {
    let t = c.transaction().await?;
    let portal = t.bind("SELECT generate_series(1, $1::int)", &[&25]).await?;
    let other = t.bind("SELECT generate_series(1, 3)", &[]).await?;
    let mut seen = Vec::new();
    for limit in [10, 10, 10, 0] {
        seen.push(t.query_portal(&portal, limit).await?.len());
        seen.push(t.query_portal(&other, 1).await?.len());
    }
    let broken = t.bind("SELECT 1 / (3 - n) FROM generate_series(1, 9) n", &[]).await?;
    let errors = [
        said(t.query_portal(&broken, 2).await.map(|r| r.len())),
        said(t.query_portal(&broken, 2).await.map(|r| r.len())),
    ];
    t.rollback().await?;
    Ok(format!("{seen:?} {errors:?}"))
}

async fn a_stream_left_early(c: &mut Session, _: &Sluice) -> Said {
    let first = {
        let none: [&i32; 0] = [];
        let rows = c.query_raw("SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) n", none).await?;
        let mut rows = std::pin::pin!(rows);
        rows.next().await.unwrap()?.get::<_, i32>(0)
    };
    Ok(format!("{first} {}", c.query_one("SELECT 'next'", &[]).await?.get::<_, &str>(0)))
}

async fn copy_in(c: &mut Session, _: &Sluice) -> Said {
    c.batch_execute("CREATE TABLE copied (n int)").await?;
    let into = c.copy_in("COPY copied FROM STDIN").await?;
    let mut into = std::pin::pin!(into);
    for n in 0..5000 {
        into.send(Bytes::from(format!("{n}\n"))).await?;
    }
    let done = into.finish().await?;
    let broken = c.copy_in::<_, Bytes>("COPY copied FROM STDIN").await?;
    let mut broken = std::pin::pin!(broken);
    let mut error = String::new();
    for n in 0..2000 {
        if let Err(e) = broken.send(Bytes::from(if n == 10 { "x\n".into() } else { "1\n".repeat(100) })).await
        {
            error = say(&e);
            break;
        }
    }
    if error.is_empty() {
        error = said(broken.finish().await);
    }
    {
        let left = c.copy_in::<_, Bytes>("COPY copied FROM STDIN").await?;
        std::pin::pin!(left).send(Bytes::from_static(b"1\n")).await?;
    }
    Ok(format!("{done} {error} {}", c.try_text("SELECT count(*) FROM copied").await?))
}

async fn copy_out(c: &mut Session, _: &Sluice) -> Said {
    let sum = async |sql: &'static str| {
        let out = c.copy_out(sql).await?;
        let mut out = std::pin::pin!(out);
        let mut size = 0;
        while let Some(block) = out.next().await {
            size += block?.len();
        }
        Ok(size)
    };
    let whole = said(sum("COPY (SELECT generate_series(1, 50000)) TO STDOUT").await);
    let binary = said(sum("COPY (SELECT generate_series(1, 50000)) TO STDOUT (FORMAT binary)").await);
    let broken = said(sum("COPY (SELECT 1/(3-n) FROM generate_series(1, 9) n) TO STDOUT").await);
    Ok(format!("{whole} {binary} {broken} {}", c.try_text("SELECT 'next'").await?))
}

async fn simple_queries(c: &mut Session, _: &Sluice) -> Said {
    let messages =
        c.simple_query("SELECT 1 AS a, NULL AS b; SET work_mem = '2MB'; ; SELECT 2 AS c WHERE false").await?;
    let seen = messages.iter().map(|message| match message {
        SimpleQueryMessage::Row(row) => format!("row {:?}", row.get(0)),
        SimpleQueryMessage::CommandComplete(count) => format!("done {count}"),
        SimpleQueryMessage::RowDescription(columns) => {
            format!("columns {:?}", columns.iter().map(|c| c.name()).collect::<Vec<_>>())
        }
        _ => "another".into(),
    });
    let seen: Vec<_> = seen.collect();
    Ok(format!("{seen:?} {}", said(c.simple_query("SELECT 1; SELECT 1/0; SELECT 2").await.map(|m| m.len()))))
}

async fn settings(c: &mut Session, sluice: &Sluice) -> Said {
    c.batch_execute("SET work_mem = '3MB'; SET search_path = pg_catalog").await?;
    pause().await;
    let mut seen = vec![c.try_text("SHOW work_mem").await?, c.try_text("SHOW search_path").await?];
    let t = c.transaction().await?;
    t.batch_execute("SET LOCAL work_mem = '4MB'; SET statement_timeout = '9s'").await?;
    t.rollback().await?;
    seen.extend([c.try_text("SHOW work_mem").await?, c.try_text("SHOW statement_timeout").await?]);
    let mut config = sluice.config();
    config.options("-c work_mem=5MB -c TimeZone=Asia/Tokyo").application_name("rusty");
    let (other, _) = Session::with(&config).await?;
    other
        .batch_execute("SET work_mem = '6MB'; SET TimeZone = 'UTC'; RESET work_mem; SET TimeZone TO DEFAULT")
        .await?;
    for name in ["work_mem", "TimeZone", "application_name"] {
        seen.push(other.try_text(&format!("SHOW {name}")).await?);
    }
    Ok(format!("{seen:?}"))
}

async fn roles(c: &mut Session, sluice: &Sluice) -> Said {
    let other = sluice.connect().await;
    c.batch_execute("SET ROLE pg_monitor").await?;
    pause().await;
    Ok(format!(
        "{} {}",
        c.try_text("SELECT current_user").await?,
        other.try_text("SELECT current_user").await?
    ))
}

async fn temporary_tables(c: &mut Session, sluice: &Sluice) -> Said {
    let other = sluice.connect().await;
    c.batch_execute("CREATE TEMP TABLE mine AS SELECT 5 AS n").await?;
    pause().await;
    Ok(format!(
        "{} {}",
        c.try_text("SELECT n FROM mine").await?,
        said(other.try_text("SELECT n FROM mine").await)
    ))
}

async fn notifications(c: &mut Session, sluice: &Sluice) -> Said {
    let other = sluice.connect().await;
    c.batch_execute("LISTEN news; LISTEN \"More News\"").await?;
    other.batch_execute("NOTIFY news, 'a'; NOTIFY \"More News\", 'b'; NOTIFY other, 'c'").await?;
    c.wait_for_notification("b").await;
    c.batch_execute("UNLISTEN news").await?;
    other.batch_execute("NOTIFY news, 'd'; NOTIFY \"More News\", 'e'").await?;
    c.wait_for_notification("e").await;
    Ok(format!("{:?} {:?}", c.notifications(), other.notifications()))
}

async fn notices(c: &mut Session, _: &Sluice) -> Said {
    c.batch_execute("DO $$BEGIN RAISE NOTICE 'a'; RAISE WARNING 'b'; END$$; DROP TABLE IF EXISTS nowhere")
        .await?;
    Ok(format!(
        "{:?}",
        c.notices().iter().map(|n| format!("{} {}", n.severity(), n.message())).collect::<Vec<_>>()
    ))
}

async fn locks(c: &mut Session, sluice: &Sluice) -> Said {
    let other = sluice.connect().await;
    c.query("SELECT pg_advisory_lock($1)", &[&9i64]).await?;
    pause().await;
    let mut seen = vec![other.try_text("SELECT pg_try_advisory_lock(9)").await?];
    seen.push(c.try_text("SELECT pg_advisory_unlock(9)").await?);
    seen.push(other.try_text("SELECT pg_try_advisory_lock(9)").await?);
    Ok(format!("{seen:?}"))
}

async fn cancel(c: &mut Session, _: &Sluice) -> Said {
    let token = c.cancel_token();
    let later = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        token.cancel_query(NoTls).await
    };
    let (seen, sent) = tokio::join!(c.batch_execute("SELECT pg_sleep(30)"), later);
    Ok(format!("{} {} {}", said(seen), said(sent), c.try_text("SELECT 'next'").await?))
}

async fn cancel_of_nothing(c: &mut Session, sluice: &Sluice) -> Said {
    let other = sluice.connect().await;
    let token = other.cancel_token();
    let sleep = c.batch_execute("SELECT pg_sleep(0.3)");
    let (seen, sent) = tokio::join!(sleep, async {
        pause().await;
        token.cancel_query(NoTls).await
    });
    Ok(format!("{} {}", said(seen), said(sent)))
}

async fn timeouts(c: &mut Session, _: &Sluice) -> Said {
    c.batch_execute("SET statement_timeout = '50ms'").await?;
    let late = said(c.batch_execute("SELECT pg_sleep(10)").await);
    c.batch_execute("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = '100ms'; BEGIN")
        .await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok(format!("{late} {}", said(c.batch_execute("SELECT 1").await)))
}

async fn killed(c: &mut Session, _: &Sluice) -> Said {
    let seen = said(c.batch_execute("SELECT pg_terminate_backend(pg_backend_pid())").await);
    pause().await;
    Ok(format!("{seen} {}", said(c.batch_execute("SELECT 1").await)))
}

async fn dropped_in_a_transaction(c: &mut Session, sluice: &Sluice) -> Said {
    c.batch_execute("CREATE TABLE fleeting (n int)").await?;
    for _ in 0..8 {
        let other = sluice.connect().await;
        other.batch_execute("BEGIN; INSERT INTO fleeting VALUES (1); SET work_mem = '777kB'").await?;
    }
    pause().await;
    Ok(format!(
        "{} {}",
        c.try_text("SELECT count(*) FROM fleeting").await?,
        c.try_text("SHOW work_mem").await? == "777kB"
    ))
}

async fn thirty_clients(_: &mut Session, sluice: &Sluice) -> Said {
    let one = async |n: i32| -> Said {
        let mut client = sluice.connect().await;
        let statement = client.prepare("SELECT $1::int + 1").await?;
        let mut sum = 0;
        for round in 0..10 {
            let t = client.transaction().await?;
            t.batch_execute(&format!("SET LOCAL application_name = 'c{n}'")).await?;
            sum += t.query_one(&statement, &[&round]).await?.get::<_, i32>(0);
            let name: String = t.query_one("SELECT current_setting('application_name')", &[]).await?.get(0);
            if name != format!("c{n}") {
                return Ok("another's name".into());
            }
            t.commit().await?;
        }
        Ok(sum.to_string())
    };
    let clients: Vec<_> = futures_util::stream::iter((0..30).map(one)).buffered(30).collect().await;
    Ok(format!("{:?}", clients.into_iter().map(said).collect::<Vec<_>>()))
}
