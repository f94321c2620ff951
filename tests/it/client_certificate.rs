//! Certificates in place of passwords: clients' towards us, ours towards servers.

use crate::support::lab::options;
use crate::support::pki::{Pair, Pki, encrypted, handshake, in_url};
use crate::support::raw::tags;
use crate::support::{Builder, Lab, Raw, Sluice, eventually, lab, msg, programs, proxy};

fn psql(sluice: &Sluice, pki: &Pki, own: Option<&Pair>) -> programs::Outcome {
    let mut command = programs::program("psql", sluice);
    command.env("PGSSLMODE", "verify-full").env("PGSSLROOTCERT", &pki.ca).env("PGHOST", "localhost");
    command.env("PGHOSTADDR", "127.0.0.1").args(["-X", "-A", "-t", "-c", "SELECT current_user"]);
    if let Some(pair) = own {
        command.env("PGSSLCERT", &pair.certificate).env("PGSSLKEY", &pair.key);
    }
    programs::run(command)
}

fn asking(pki: &Pki, mode: &str) -> Builder {
    let more = format!("client_tls_sslmode = \"{mode}\"\nclient_tls_ca_file = \"{}\"", pki.ca.display());
    proxy().certificate(&pki.issue("server"), &more)
}

#[tokio::test]
async fn a_certificate_is_asked_for_and_checked() {
    crate::needs_proxy!();
    let (pki, stranger) = (Pki::new(), Pki::new());
    for mode in ["verify-ca", "verify-full"] {
        let sluice = asking(&pki, mode).start();
        let good = psql(&sluice, &pki, Some(&pki.issue("anybody")));
        assert!(good.ok && good.stdout.trim() == sluice.database.user, "{mode}: {good:?}");
        let none = psql(&sluice, &pki, None);
        assert!(none.stderr.contains("connection requires a valid client certificate"), "{mode}: {none:?}");
        assert!(!psql(&sluice, &pki, Some(&stranger.issue("anybody"))).ok, "{mode}");
        let error = sluice.config().connect(tokio_postgres::NoTls).await.map(drop).unwrap_err();
        assert_eq!(crate::support::sqlstate(&error), "28000", "{mode}");
    }
}

/// The user's name is nobody's to guess here: the certificate says it.
#[tokio::test]
async fn auth_type_cert_takes_the_common_name_for_the_user() {
    crate::needs_proxy!();
    let pki = Pki::new();
    let database = lab().database();
    let list = pki.ca.with_file_name("userlist.txt");
    std::fs::write(&list, format!("\"{}\" \"{}\"\n", database.user, database.password)).unwrap();
    let auth = format!("[auth]\nauth_type = \"cert\"\nauth_file = \"{}\"", list.display());
    let sluice = asking(&pki, "verify-full").setting(&auth).start_for(database);
    let (own, other) = (pki.issue(&sluice.database.user), pki.issue("somebody"));
    let startup =
        msg::startup(196_608, &[("user", &sluice.database.user), ("database", &sluice.database.name)]);
    let mut raw = encrypted(sluice.port, pki.client(&[], Some(&own))).await;
    raw.send(&startup).await;
    assert_eq!(raw.frame().await.unwrap().body, [0; 4], "nothing is asked");
    raw.until_ready().await;
    assert_eq!(tags(&raw.query("SELECT 1").await), "TDCZ");
    let mut raw = encrypted(sluice.port, pki.client(&[], Some(&other))).await;
    raw.send(&startup).await;
    let error = raw.frame().await.unwrap();
    assert_eq!((error.tag, error.field(b'C').as_deref()), (b'E', Some("28000")));
    let text = error.field(b'M').unwrap();
    assert!(text.starts_with("certificate authentication failed for user"), "{text}");
    eventually("the log says why", || async { sluice.log().contains("its common name is another user") })
        .await;
    assert!(psql(&sluice, &pki, Some(&own)).ok);
    // Begun with TLS at once it is the same.
    let socket = Raw::connect(sluice.port).await.unwrap().stream;
    let mut raw = handshake(pki.client(&["postgresql"], Some(&own)), socket).await.unwrap();
    raw.send(&startup).await;
    assert_eq!(raw.frame().await.unwrap().body, [0; 4]);
}

#[tokio::test]
async fn settings_that_need_each_other_say_so() {
    crate::needs_proxy!();
    let pki = Pki::new();
    let server = pki.issue("server");
    let certificate = format!(
        "client_tls_cert_file = \"{}\"\nclient_tls_key_file = \"{}\"\n",
        server.certificate.display(),
        server.key.display()
    );
    for (settings, expected) in [
        ("[auth]\nauth_type = \"cert\"".to_owned(), "needs client_tls_sslmode = \"verify-full\""),
        (
            format!("[client_tls]\n{certificate}client_tls_sslmode = \"verify-ca\""),
            "needs client_tls_ca_file",
        ),
        (
            format!("[server_tls]\nserver_tls_cert_file = \"{}\"", server.certificate.display()),
            "needs server_tls_key_file",
        ),
    ] {
        let (mut command, _) = proxy().setting(&settings).command();
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(expected), "{settings}: {text}");
    }
}

#[tokio::test]
async fn a_server_that_asks_gets_ours() {
    crate::needs_proxy!();
    let pki = Pki::new();
    let hba = "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca".to_owned();
    let options = pgsluice::sandbox::Options { tls: Some(pki.pem("localhost")), hba: vec![hba], ..options() };
    let lab = Lab::private(options.setting("ssl_ca_file", pki.ca.display()));
    let own = pki.issue("pgsluice");
    let url = format!("{}?sslmode=require", lab.cluster.url("postgres"));
    let files = format!(
        "[server_tls]\nserver_tls_cert_file = \"{}\"\nserver_tls_key_file = \"{}\"",
        own.certificate.display(),
        own.key.display()
    );
    let in_the_url = format!("{url}&sslcert={}&sslkey={}", in_url(&own.certificate), in_url(&own.key));
    let shown = "SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    for builder in
        [Builder::new(lab).primary(url.clone()).setting(&files), Builder::new(lab).primary(in_the_url)]
    {
        let sluice = builder.start();
        assert_eq!(sluice.connect().await.text(shown).await, "/CN=pgsluice");
    }
    let bare = Builder::new(lab).primary(url).setting("[pool]\nquery_wait_timeout = \"1s\"").start();
    assert!(bare.config().connect(tokio_postgres::NoTls).await.is_err());
}
