//! Connections of the control plane's own, to any database of a server.

use std::time::Duration;

use tokio_postgres::Client;

use super::pg_tls::PgTls;
use super::topology::{AbortOnDrop, Server, Watch, client_config, sentence};

/// One, open until it is dropped.
pub(crate) struct Control {
    client: Client,
    _driver: AbortOnDrop,
}

impl Control {
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }
}

/// Opens one; `limit` bounds it and each of its statements.
pub(crate) async fn open_for(
    server: &Server,
    dbname: &str,
    application: &str,
    limit: Duration,
) -> Result<Control, String> {
    let watch = Watch { check_interval: limit, max_lag: limit, connect_timeout: limit };
    let mut config = client_config(server, &watch);
    config.dbname(dbname).application_name(application);
    let (client, connection) = config.connect(PgTls::new(&server.tls)).await.map_err(sentence)?;
    let driver = AbortOnDrop(tokio::spawn(async move { drop(connection.await) }));
    Ok(Control { client, _driver: driver })
}
