//! The servers of a run, and a database of its own for every test.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use pgsluice::sandbox::{Cluster, Options};

use super::{Raw, Session, eventually};

/// A primary and a streaming replica.
pub struct Lab {
    pub cluster: Cluster,
}

/// The run's own lab. Made by the first test that asks; its watchdog clears it away when the run ends.
pub fn lab() -> &'static Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    LAB.get_or_init(|| Lab::start(&options()))
}

/// What the run's own lab is made with.
pub fn options() -> Options {
    Options { max_connections: 500, ..Options::default() }
        .setting("max_wal_size", "192MB")
        .setting("max_prepared_transactions", "20")
}

/// The version of the run's servers.
pub fn major() -> u32 {
    lab().cluster.home().binaries().major()
}

impl Lab {
    /// A lab for one test alone, which may stop or slow its servers. It goes when the run ends.
    pub fn private(options: Options) -> &'static Self {
        Box::leak(Box::new(Self::start(&options)))
    }

    pub fn start(options: &Options) -> Self {
        let mut cluster = Cluster::primary(options).unwrap();
        cluster.add_replica().unwrap();
        Self { cluster }
    }

    /// A fresh database and a fresh role that owns it.
    pub fn database(&self) -> Database<'_> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let (name, user, password) = (format!("d{n}"), format!("u{n}"), format!("secret{n}"));
        self.cluster.sql("postgres", &format!("CREATE ROLE {user} LOGIN PASSWORD '{password}'")).unwrap();
        self.cluster.sql("postgres", &format!("CREATE DATABASE {name} OWNER {user}")).unwrap();
        Database { lab: self, name, user, password }
    }

    /// Waits until the replica has replayed what the primary has written so far.
    pub async fn catch_up(&self) {
        let lsn = self.cluster.sql("postgres", "SELECT pg_current_wal_insert_lsn()").unwrap();
        let lsn = lsn[0][0].clone().unwrap();
        let replica = self.cluster.replica_url("postgres").unwrap();
        let (client, _) = Session::open(&replica).await;
        let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{lsn}'::pg_lsn");
        eventually("the replica catches up", || async { client.query_one(&sql, &[]).await.unwrap().get(0) })
            .await;
    }

    /// Backends of a database on the primary; the control plane's own left out.
    pub fn backends(&self, database: &str) -> usize {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND backend_type = 'client backend' \
             AND application_name <> 'pgsluice catalog'"
        );
        self.cluster.sql("postgres", &sql).unwrap()[0][0].clone().unwrap().parse().unwrap()
    }
}

/// A test's own database, and the role that owns it.
#[derive(Clone)]
pub struct Database<'a> {
    pub lab: &'a Lab,
    pub name: String,
    pub user: String,
    pub password: String,
}

impl Database<'_> {
    pub fn url(&self, port: u16) -> String {
        format!("postgresql://{}:{}@127.0.0.1:{port}/{}", self.user, self.password, self.name)
    }

    /// As the owner, straight to the primary.
    pub async fn direct(&self) -> Session {
        Session::open(&self.url(self.lab.cluster.server().port())).await.0
    }

    /// As the superuser, straight to the primary.
    pub async fn admin(&self) -> Session {
        Session::open(&self.lab.cluster.url(&self.name)).await.0
    }

    /// As the owner, straight to the replica.
    pub async fn on_replica(&self) -> Session {
        Session::open(&self.url(self.lab.cluster.replicas()[0].port())).await.0
    }

    /// Frames by hand, straight to the primary.
    pub async fn raw_direct(&self) -> Raw {
        self.raw(self.lab.cluster.server().port()).await
    }

    /// Frames by hand, logged in on that port.
    pub async fn raw(&self, port: u16) -> Raw {
        Raw::login(port, &self.user, &self.password, &self.name, &[]).await.unwrap()
    }
}
