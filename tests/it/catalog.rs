//! What is known of a database: read when its first client has come, kept up to date, cheap to keep.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pgsluice::config::load_text;
use pgsluice::control::catalog::{Census, Reader};
use pgsluice::control::{snapshot, topology};
use pgsluice::document::Source;
use pgsluice::guard::catalog::{Catalog, Volatility};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::support::console::{Table, console, show_until, text, with_admin};
use crate::support::lab::Database;
use crate::support::raw::tags;
use crate::support::{eventually, lab, proxy, sqlstate};

/// A reader of one database, without a proxy around it.
struct Watched {
    shared: snapshot::Shared,
    epoch: Arc<AtomicU64>,
    asked: Arc<Notify>,
    name: Box<str>,
    task: JoinHandle<()>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watched {
    /// As the owner of the database, who is no superuser.
    fn start(database: &Database<'_>, more: &str) -> Self {
        let port = database.lab.cluster.server().port();
        let text = format!("primary = \"{}\"\n[catalog]\n{more}\n", database.url(port));
        let loaded = load_text(&Source::new("catalog.toml", text), Path::new("."), &[]);
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        let settings = Arc::new(loaded.settings);
        let (server, _) = topology::servers(&settings).unwrap();
        let (shared, epoch, asked) =
            (snapshot::Shared::default(), Arc::new(AtomicU64::new(0)), Arc::default());
        let name: Box<str> = database.name.as_str().into();
        let (seen, moves) = (name.clone(), Arc::clone(&epoch));
        let census: Census = Arc::new(move || vec![(seen.clone(), moves.load(Ordering::Relaxed))]);
        let reader = Reader::new(Arc::clone(&shared), server, settings, census, Arc::clone(&asked));
        Self { shared, epoch, asked, name, task: tokio::spawn(reader.run()) }
    }

    fn catalog(&self) -> Option<Arc<Catalog>> {
        self.shared.load().catalogs.get(&self.name).cloned()
    }

    /// Waits until the catalog is as it should be.
    async fn holds(&self, what: &str, condition: impl Fn(&Catalog) -> bool) -> Arc<Catalog> {
        eventually(what, || async { self.catalog().is_some_and(|catalog| condition(&catalog)) }).await;
        self.catalog().unwrap()
    }
}

#[tokio::test]
async fn a_database_is_known_with_sizes_columns_indexes_views_and_functions() {
    let database = lab().database();
    let session = database.direct().await;
    session
        .batch_execute(
            "CREATE TABLE orders (id bigint PRIMARY KEY, email varchar(80) NOT NULL, total numeric(10,2), gone int);
             ALTER TABLE orders DROP COLUMN gone;
             CREATE INDEX orders_lower ON orders (lower(email), id) WHERE total > 0;
             INSERT INTO orders SELECT n, 'a' || n, n FROM generate_series(1, 5000) n;
             CREATE VIEW big AS SELECT id FROM orders WHERE total > 100;
             CREATE TABLE never (x int);
             CREATE TABLE parts (at date, v int) PARTITION BY RANGE (at);
             CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
             CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
             INSERT INTO parts SELECT date '2020-06-01' + n, n FROM generate_series(0, 399) n;
             CREATE FUNCTION plus(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 + 1';
             CREATE FUNCTION plus(text) RETURNS int VOLATILE LANGUAGE sql AS 'SELECT 1';
             CREATE FUNCTION upper(text) RETURNS text VOLATILE LANGUAGE sql AS 'SELECT $1';
             ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
             ANALYZE orders, parts",
        )
        .await
        .unwrap();
    let watched = Watched::start(&database, "");
    let catalog = watched.holds("the catalog is read", |c| c.table("orders").is_some()).await;
    let orders = catalog.table("public.orders").unwrap();
    assert_eq!((orders.kind.as_str(), orders.rows, orders.row_security), ("table", Some(5000), true));
    assert!(orders.bytes.unwrap() > 100_000 && orders.analyzed.is_some());
    let columns: Vec<_> =
        orders.columns.iter().map(|c| (c.name.as_str(), c.type_name.as_str(), c.not_null)).collect();
    assert_eq!(
        columns,
        [("id", "bigint", true), ("email", "character varying(80)", true), ("total", "numeric(10,2)", false)]
    );
    let index = orders.indexes.iter().find(|index| index.name == "orders_lower").unwrap();
    assert_eq!(index.columns, ["lower(email::text)", "id"]);
    assert_eq!((index.method.as_str(), index.predicate.is_some(), index.valid), ("btree", true, true));
    assert!(orders.is_indexed("id") && !orders.is_indexed("email"));
    let view = catalog.table("big").unwrap();
    assert!(view.definition.as_deref().is_some_and(|text| text.contains("orders")), "{view:?}");
    assert_eq!((view.kind.as_str(), view.rows), ("view", None));
    assert_eq!(catalog.table("never").unwrap().rows, None, "unknown, not zero");
    let parts = catalog.table("parts").unwrap();
    assert_eq!((parts.kind.as_str(), parts.rows), ("partitioned", Some(400)));
    assert_eq!(catalog.table("parts_1").unwrap().kind, "partition");
    assert_eq!(catalog.functions.get("public.plus"), Some(&Volatility::Volatile), "the worst of its kind");
    assert!(!catalog.functions.contains_key("public.upper"), "PostgreSQL's own comes first");
    assert!(catalog.table("pg_class").is_none());
}

#[tokio::test]
async fn changes_are_seen_at_once_when_told_and_on_the_period_else() {
    let database = lab().database();
    let session = database.direct().await;
    session.batch_execute("CREATE TABLE a (x int); CREATE TABLE b (x int)").await.unwrap();
    let watched = Watched::start(&database, "refresh = \"1h\"");
    watched.holds("both are there", |c| c.table("a").is_some() && c.table("b").is_some()).await;

    // Seen by the proxy: the schema's count moves.
    session
        .batch_execute("ALTER TABLE a RENAME COLUMN x TO y; CREATE INDEX a_y ON a (y); DROP TABLE b")
        .await
        .unwrap();
    watched.epoch.fetch_add(1, Ordering::Relaxed);
    let catalog =
        watched.holds("the index is known", |c| c.table("a").is_some_and(|a| a.is_indexed("y"))).await;
    assert!(catalog.table("b").is_none());
    assert_eq!(catalog.table("a").unwrap().columns[0].name, "y");

    // An index whose column takes another name has no changed row of its own.
    session.batch_execute("ALTER TABLE a RENAME COLUMN y TO z").await.unwrap();
    watched.epoch.fetch_add(1, Ordering::Relaxed);
    watched.holds("the new name is known", |c| c.table("a").is_some_and(|a| a.is_indexed("z"))).await;

    // Told by an operator.
    session.batch_execute("DROP INDEX a_y; CREATE TABLE c (x int)").await.unwrap();
    watched.asked.notify_one();
    let catalog = watched.holds("c is known", |c| c.table("c").is_some()).await;
    assert!(catalog.table("a").unwrap().indexes.is_empty());

    // Nobody tells.
    let watched = Watched::start(&database, "refresh = \"200ms\"");
    session.batch_execute("CREATE TABLE d (x int)").await.unwrap();
    watched.holds("the period has passed", |c| c.table("d").is_some()).await;
    // Nothing changed: what is published stays the same value, and no guard forgets what it knows.
    let before = watched.catalog().unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(Arc::ptr_eq(&before, &watched.catalog().unwrap()));
}

#[tokio::test]
async fn a_view_that_is_locked_is_unknown_until_it_is_free() {
    let database = lab().database();
    let session = database.direct().await;
    session.batch_execute("CREATE TABLE t (x int); CREATE VIEW v AS SELECT x FROM t").await.unwrap();
    session.batch_execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let watched = Watched::start(&database, "refresh = \"200ms\"");
    let catalog = watched.holds("read in spite of the lock", |c| c.table("v").is_some()).await;
    assert_eq!(catalog.table("v").unwrap().definition, None);
    assert_eq!(catalog.table("t").unwrap().columns.len(), 1);
    session.batch_execute("ROLLBACK").await.unwrap();
    watched.holds("known once it is free", |c| c.table("v").unwrap().definition.is_some()).await;
}

#[tokio::test]
async fn more_tables_than_allowed_are_unknown() {
    let database = lab().database();
    database.direct().await.batch_execute("CREATE TABLE a (); CREATE TABLE b ()").await.unwrap();
    let watched = Watched::start(&database, "max_tables = 1");
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(watched.catalog().is_none());
}

/// Ten thousand tables; what is printed is the measure (`--nocapture`). The bound is a hundred times what it takes.
#[tokio::test]
async fn a_large_catalog_is_read_once_and_then_only_what_changed() {
    let database = lab().database();
    let session = database.direct().await;
    let count: i32 = std::env::var("PGSLUICE_CATALOG_TABLES").map_or(2_000, |n| n.parse().unwrap());
    // In batches: one transaction can lock only so many.
    for first in (0..count).step_by(500) {
        let last = (first + 499).min(count - 1);
        session
            .batch_execute(&format!(
                "DO $$ BEGIN FOR n IN {first}..{last} LOOP EXECUTE format( \
                 'CREATE TABLE t%s (id bigint PRIMARY KEY, a text, b int, c timestamptz, d numeric)', n); \
                 END LOOP; END $$"
            ))
            .await
            .unwrap();
    }
    let started = Instant::now();
    let watched = Watched::start(&database, "refresh = \"1h\"");
    let catalog = watched.holds("read", |c| c.table("t0").is_some()).await;
    println!("{count} tables: first reading after {:?}", started.elapsed());
    assert_eq!(catalog.tables.len(), usize::try_from(count).unwrap());
    let took = |watched: &Watched| watched.shared.load().catalog_readings[&watched.name].took;
    let first = took(&watched);
    session.batch_execute("ALTER TABLE t7 ADD COLUMN e int").await.unwrap();
    watched.epoch.fetch_add(1, Ordering::Relaxed);
    watched.holds("the column is known", |c| c.table("t7").unwrap().columns.len() == 6).await;
    println!("reading: {first:?} at first, {:?} for one changed table", took(&watched));
    let catalog = watched.catalog().unwrap();
    assert!(catalog.table("t8").is_some_and(|t| t.columns.len() == 5 && t.is_indexed("id")));
}

#[tokio::test]
async fn a_rule_reads_the_size_of_a_table() {
    crate::needs_proxy!();
    const POLICY: &str = "[[rule]]\nname = 'whole-big-table'\n\
                          when = 'catalog.rows > 1000 && !query.has_where'\naction = 'block'\n";
    let sluice = proxy().policy(POLICY).start();
    let client = sluice.connect().await;
    client
        .batch_execute(
            "CREATE TABLE big AS SELECT n FROM generate_series(1, 5000) n; CREATE TABLE small AS SELECT 1 AS n; \
             ANALYZE big, small",
        )
        .await
        .unwrap();
    eventually("its size is known", || async { client.batch_execute("SELECT n FROM big").await.is_err() })
        .await;
    let refused = client.batch_execute("SELECT n FROM big").await.unwrap_err();
    assert_eq!(sqlstate(&refused), "42501");
    client.batch_execute("SELECT n FROM small; SELECT n FROM big WHERE n = 7").await.unwrap();
}

#[tokio::test]
async fn the_console_shows_what_is_known_and_has_it_read_again() {
    crate::needs_proxy!();
    let policy = "[[rule]]\nname = 'r'\nwhen = 'catalog.rows > 1000'\naction = 'warn'\n";
    let sluice = with_admin(proxy().policy(policy).setting("[catalog]\nrefresh = \"1h\""));
    let owner = sluice.database.direct().await;
    owner
        .batch_execute("CREATE TABLE a (x int PRIMARY KEY); CREATE VIEW v AS SELECT x FROM a")
        .await
        .unwrap();
    let _client = sluice.connect().await;
    let mut console = console(&sluice).await;
    let name = sluice.database.name.clone();
    let known = |table: &Table, tables: &str| {
        table.with("database", &name).iter().any(|row| text(row, "tables") == tables)
    };
    let table = show_until(&mut console, "SHOW CATALOG", |table| known(table, "2")).await;
    let row = table.with("database", &name)[0];
    assert_eq!((text(row, "indexes"), text(row, "views")), ("1", "1"));
    // Past the proxy: nobody tells.
    owner.batch_execute("CREATE TABLE b (x int)").await.unwrap();
    let done = console.query("RELOAD CATALOG").await;
    assert_eq!(tags(&done), "CZ");
    show_until(&mut console, "SHOW CATALOG", |table| known(table, "3")).await;
}
