//! The shop's tables, and how they are filled.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio_postgres::Client;

use super::Error;
use super::measure::connect;
use super::screen::say;

/// The role of the shop's programs.
pub(super) const USER: &str = "app";
pub(super) const PASSWORD: &str = "app";
pub(super) const DATABASE: &str = "shop";

pub(super) const CUSTOMERS: u64 = 100_000;
pub(super) const PRODUCTS: u64 = 10_000;

/// Orders that one INSERT makes.
const CHUNK: u64 = 50_000;

const TABLES: &str = "
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, email text NOT NULL);
CREATE TABLE products (id int PRIMARY KEY, name text NOT NULL, price_cents int NOT NULL, stock int NOT NULL);
CREATE TABLE orders (
    id bigint, customer_id int NOT NULL, product_id int NOT NULL, quantity int NOT NULL,
    total_cents int NOT NULL, state text NOT NULL, placed_at timestamptz NOT NULL, ship_to text NOT NULL
);";

/// Everything but the orders. Names are put together from syllables, so that searches find something.
const SMALL: &str = "
CREATE FUNCTION person(n bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (ARRAY['Ada','Ben','Cleo','Dan','Eva','Finn','Gus','Hana','Ida','Jon','Kim','Lea'])[1 + n % 12] || ' ' ||
           (ARRAY['Ander','Berg','Cor','Dahl','Ek','Fisch','Gold','Holm','Jans','Kell','Lind','Mey'])[1 + n / 12 % 12] ||
           (ARRAY['son','mann','strom','er','ova','wood','field','ini'])[1 + n / 144 % 8]
$$;
INSERT INTO customers SELECT n, person(n), 'customer' || n || '@example.com' FROM generate_series(1, {customers}::bigint) n;
INSERT INTO products SELECT n, 'Product ' || n, 100 + n * 7919 % 20000, 1000000 FROM generate_series(1, {products}::bigint) n;";

const ORDERS: &str = "
INSERT INTO orders SELECT n, 1 + n * 7919 % {customers}, 1 + n * 104729 % {products}, 1 + n % 5, 100 + n * 31 % 50000,
    (ARRAY['open','paid','packed','sent','returned'])[1 + n % 5], timestamptz '2026-01-01' + n * interval '7 seconds',
    person(n * 31) || ', ' || n % 999 || ' Mill Lane, Ward ' || n * 7919 % 9973
FROM generate_series({from}::bigint, {to}::bigint) n;";

const INDEXES: [(&str, &str); 3] = [
    ("orders by id", "ALTER TABLE orders ADD PRIMARY KEY (id)"),
    ("orders by addressee", "CREATE INDEX ON orders (ship_to)"),
    ("statistics", "ANALYZE"),
];

const RIGHTS: &str = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app";

/// Makes and fills the shop. `url` is the superuser's.
pub(super) async fn load(url: &str, orders: u64) -> Result<(), Error> {
    let what = "loading the shop";
    let client = connect(url).await.map_err(Error::sql(what))?;
    // One parallel worker less: two loaders fill two cores already.
    client.batch_execute("SET maintenance_work_mem = '256MB'").await.map_err(Error::sql(what))?;
    client.batch_execute(TABLES).await.map_err(Error::sql(what))?;
    let small = with_sizes(SMALL);
    client.batch_execute(&small).await.map_err(Error::sql(what))?;
    let progress = Progress::new("loading orders", orders);
    let next = AtomicU64::new(0);
    let second = connect(url).await.map_err(Error::sql(what))?;
    let (one, two) = tokio::join!(
        load_orders(&client, &next, orders, &progress),
        load_orders(&second, &next, orders, &progress)
    );
    one.and(two).map_err(Error::sql(what))?;
    progress.done();
    let progress = Progress::new("indexes and statistics", INDEXES.len() as u64);
    for (_, sql) in INDEXES {
        client.batch_execute(sql).await.map_err(Error::sql(what))?;
        progress.advance(1);
    }
    progress.done();
    client.batch_execute(RIGHTS).await.map_err(Error::sql(what))?;
    client.batch_execute("CHECKPOINT").await.map_err(Error::sql(what))
}

/// Takes chunks until none is left.
async fn load_orders(
    client: &Client,
    next: &AtomicU64,
    orders: u64,
    progress: &Progress,
) -> Result<(), tokio_postgres::Error> {
    loop {
        let from = next.fetch_add(CHUNK, Ordering::Relaxed);
        if from >= orders {
            return Ok(());
        }
        let to = (from + CHUNK).min(orders);
        let sql = with_sizes(ORDERS);
        let sql = sql.replace("{from}", &(from + 1).to_string()).replace("{to}", &to.to_string());
        client.batch_execute(&sql).await?;
        progress.advance(to - from);
    }
}

fn with_sizes(sql: &str) -> String {
    sql.replace("{customers}", &CUSTOMERS.to_string()).replace("{products}", &PRODUCTS.to_string())
}

/// A bar on a terminal; elsewhere a line at the end.
pub(super) struct Progress {
    bar: ProgressBar,
    what: &'static str,
}

impl Progress {
    pub(super) fn new(what: &'static str, length: u64) -> Self {
        let template = "   {msg:<26} {bar:30} {human_pos:>10} of {human_len}  {elapsed}";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(length).with_style(style).with_message(what);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, what }
    }

    /// For a step whose end nobody can tell.
    pub(super) fn spinner(what: &'static str) -> Self {
        let style = ProgressStyle::with_template("   {msg:<26} {spinner} {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressBar::new_spinner().with_style(style).with_message(what);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, what }
    }

    pub(super) fn advance(&self, by: u64) {
        self.bar.inc(by);
    }

    pub(super) fn done(self) {
        let seconds = self.bar.elapsed().as_secs_f64();
        self.bar.finish_and_clear();
        say(&format!("   {:<44} {seconds:>9.1} s", self.what));
    }
}
