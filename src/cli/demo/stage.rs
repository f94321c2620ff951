//! The primary, its replica, and pgsluice in front.

use std::process::Command;
use std::time::Duration;

use crate::sandbox::{Cluster, Options, Program, SUPERUSER, Server};

use super::Error;
use super::measure::connect;
use super::screen::{say, thousands};
use super::shop::{self, DATABASE, PASSWORD, Progress, USER};

/// Server connections that pgsluice may open.
pub(super) const POOL_SIZE: usize = 20;
/// `max_connections` of the servers, PostgreSQL's own default.
pub(super) const MAX_CONNECTIONS: u32 = 100;

pub(super) struct Stage {
    // Dropped in this order.
    sluice: Program,
    cluster: Cluster,
    port: u16,
    http: u16,
    pub(super) orders: u64,
}

impl Stage {
    /// Starts and loads everything; says what takes how long.
    pub(super) async fn build(millions: u32) -> Result<Self, Error> {
        let orders = u64::from(millions) * 1_000_000;
        say("Setting the stage");
        let step = Progress::spinner("starting a primary");
        let cluster = blocking(|| Cluster::primary(&options())).await?;
        step.done();
        let url = cluster.url("postgres");
        let admin = connect(&url).await.map_err(Error::sql("connecting to the primary"))?;
        let role = format!("CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'");
        admin.batch_execute(&role).await.map_err(Error::sql("making a role"))?;
        let database = format!("CREATE DATABASE {DATABASE}");
        admin.batch_execute(&database).await.map_err(Error::sql("making a database"))?;
        shop::load(&cluster.url(DATABASE), orders).await?;
        let step = Progress::spinner("copying it to a replica");
        let cluster = blocking(move || {
            let mut cluster = cluster;
            cluster.add_replica()?;
            Ok(cluster)
        })
        .await?;
        step.done();
        let step = Progress::spinner("starting pgsluice");
        let (sluice, port, http) = start_sluice(&cluster).await?;
        step.done();
        let stage = Self { sluice, cluster, port, http, orders };
        stage.wait_for_replica().await?;
        let rows = thousands(orders);
        say(&format!("   {rows} orders; {POOL_SIZE} server connections; the built-in baseline is enforced"));
        Ok(stage)
    }

    /// Until pgsluice knows that the replica is fresh.
    async fn wait_for_replica(&self) -> Result<(), Error> {
        let client = connect(&self.through()).await.map_err(Error::sql("connecting through pgsluice"))?;
        let replica = self.cluster.replicas().first().map_or(0, Server::port).to_string();
        // No WHERE over all rows of a small table: the baseline's own report rule sends it to the replica.
        let probe =
            "SELECT min(s.setting) FROM products p, (SELECT setting FROM pg_settings WHERE name = 'port') s
             GROUP BY p.price_cents % 2";
        for _ in 0..100 {
            if super::measure::ask(&client, probe).await?.value() == replica {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// The shop's programs, through pgsluice.
    pub(super) fn through(&self) -> String {
        format!("postgresql://{USER}:{PASSWORD}@127.0.0.1:{}/{DATABASE}", self.port)
    }

    /// The shop's programs, straight to the primary.
    pub(super) fn direct(&self) -> String {
        self.cluster.server().url(USER, PASSWORD, DATABASE)
    }

    /// The superuser on the primary, to look at it.
    pub(super) fn primary_admin(&self) -> String {
        self.cluster.url(DATABASE)
    }

    /// The superuser on the replica, to look at it.
    pub(super) fn replica_admin(&self) -> String {
        let server = self.cluster.replicas().first().unwrap_or(self.cluster.server());
        server.url(SUPERUSER, self.cluster.password(), DATABASE)
    }

    /// Process of the primary's postmaster.
    pub(super) fn primary_pid(&self) -> u32 {
        self.cluster.server().pid().unwrap_or(0)
    }

    /// How to go on from here by hand.
    pub(super) fn directions(&self) -> String {
        let (port, http) = (self.port, self.http);
        let url = self.through();
        let primary = self.direct();
        let files = self.cluster.home().path().display();
        format!(
            "\nEverything stays up. To try things yourself:\n\n   \
             psql {url}\n   psql {primary}   (the primary itself)\n   \
             curl -s http://127.0.0.1:{http}/metrics\n\n   \
             pgsluice {port} (process {}), files in {files}\n\n\
             Ctrl-C stops it all and removes the files.",
            self.sluice.pid(),
        )
    }
}

/// Servers that forget quickly. Loading comes before the replica, so its WAL need not be kept. A query keeps to
/// one processor, so that on a small machine something is left for the others.
fn options() -> Options {
    let options = Options { max_connections: MAX_CONNECTIONS, ..Options::default() };
    options
        .setting("shared_buffers", "256MB")
        .setting("max_wal_size", "256MB")
        .setting("wal_level", "replica")
        .setting("autovacuum", "off")
        .setting("max_parallel_workers_per_gather", 0)
}

async fn start_sluice(cluster: &Cluster) -> Result<(Program, u16, u16), Error> {
    let program = std::env::current_exe().map_err(Error::io("finding this program"))?;
    let settings = cluster.home().path().join("pgsluice.toml");
    let replica = cluster.replica_url("postgres").unwrap_or_default();
    let text = format!(
        "listen = [\"127.0.0.1:0\"]\nhttp = \"127.0.0.1:0\"\nprimary = \"{}\"\nreplicas = [\"{replica}\"]\n\
         policies = [\"baseline\"]\n\n\
         [pool]\npool_size = {POOL_SIZE}\n\n[replica]\ncheck_interval = \"500ms\"\n\n\
         [log]\nlog_connections = false\nlog_disconnections = false\n",
        cluster.url("postgres"),
    );
    std::fs::write(&settings, text).map_err(Error::io("writing the settings"))?;
    let mut command = Command::new(program);
    command.arg("run").arg(&settings);
    let program = Program::start(cluster.home(), &mut command)?;
    blocking(move || {
        let limit = Duration::from_secs(30);
        let port = program.port_after("listening on 127.0.0.1:", limit)?;
        let http = program.port_after("http on 127.0.0.1:", limit)?;
        Ok((program, port, http))
    })
    .await
}

/// Work that blocks, on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, crate::sandbox::Error> + Send + 'static,
) -> Result<T, Error> {
    Ok(tokio::task::spawn_blocking(work).await??)
}
