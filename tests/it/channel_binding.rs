//! SCRAM-SHA-256-PLUS: the login is bound to the TLS connection it came over, on each leg for itself.

use crate::support::lab::options;
use crate::support::pki::{Pki, encrypted};
use crate::support::{Builder, Frame, Lab, Sluice, eventually, lab, msg, programs, proxy};

fn psql(sluice: &Sluice, pki: &Pki, binding: &str) -> programs::Outcome {
    let mut command = programs::program("psql", sluice);
    command.env("PGSSLMODE", "verify-full").env("PGSSLROOTCERT", &pki.ca).env("PGHOST", "localhost");
    command.env("PGHOSTADDR", "127.0.0.1").env("PGCHANNELBINDING", binding);
    programs::run({
        command.args(["-X", "-A", "-t", "-c", "SELECT current_user"]);
        command
    })
}

#[tokio::test]
async fn libpq_binds_to_our_certificate() {
    crate::needs_proxy!();
    let pki = Pki::new();
    let sluice = proxy().certificate(&pki.issue("server"), "").start();
    for binding in ["require", "prefer", "disable"] {
        let out = psql(&sluice, &pki, binding);
        assert!(out.ok && out.stdout.trim() == sluice.database.user, "{binding}: {out:?}");
    }
}

/// The server's side is PostgreSQL's own: it checks the hash of its certificate and our gs2 header.
#[tokio::test]
async fn both_legs_are_bound_each_to_its_own_certificate() {
    crate::needs_proxy!();
    let pki = Pki::new();
    let lab = Lab::private(pgsluice::sandbox::Options { tls: Some(pki.pem("localhost")), ..options() });
    for (binding, mode) in
        [("require", "require"), ("prefer", "require"), ("prefer", "prefer"), ("disable", "require")]
    {
        let url = format!("{}?sslmode={mode}&channel_binding={binding}", lab.cluster.url("postgres"));
        let sluice = Builder::new(lab).primary(url).certificate(&pki.issue("server"), "").start();
        let out = psql(&sluice, &pki, "require");
        assert!(out.ok && out.stdout.trim() == sluice.database.user, "{binding}: {out:?}");
    }
}

#[tokio::test]
async fn without_tls_to_the_server_a_required_binding_fails() {
    crate::needs_proxy!();
    let database = lab().database();
    let list = std::env::temp_dir().join(format!("pgsluice-binding-{}", std::process::id()));
    std::fs::write(&list, format!("\"{}\" \"{}\"\n", database.user, database.password)).unwrap();
    let url = format!("{}?sslmode=disable&channel_binding=require", lab().cluster.url("postgres"));
    let auth = format!("[auth]\nauth_type = \"trust\"\nauth_file = \"{}\"", list.display());
    let sluice = proxy().primary(url).setting(&auth).start_for(database);
    let _ = std::fs::remove_file(list);
    let error = sluice.config().connect(tokio_postgres::NoTls).await.map(drop).unwrap_err();
    let text = error.as_db_error().map(|e| e.message().to_owned()).unwrap_or_default();
    assert!(text.contains("channel_binding=require, but"), "{error:?}");
    eventually("the probe says it too", || async { sluice.log().contains("the primary cannot be used") })
        .await;
}

/// The server's answer to a SASLInitialResponse.
async fn chosen(sluice: &Sluice, pki: &Pki, mechanism: &str, first: &str) -> Frame {
    let mut raw = encrypted(sluice.port, pki.client(&[], None)).await;
    raw.send(&msg::startup(196_608, &[("user", &sluice.database.user)])).await;
    let offer = raw.frame().await.unwrap();
    assert_eq!(offer.body, b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
    let length = u32::try_from(first.len()).unwrap().to_be_bytes();
    let body = [mechanism.as_bytes(), b"\0", &length, first.as_bytes()].concat();
    raw.send(&msg::frame(b'p', &body)).await;
    raw.frame().await.unwrap()
}

#[tokio::test]
async fn a_downgrade_is_noticed_and_nonsense_refused() {
    crate::needs_proxy!();
    let pki = Pki::new();
    let sluice = proxy().certificate(&pki.issue("server"), "").start();
    let (plus, plain) = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256");
    for (mechanism, header, expected) in [
        (plain, "n,,", None),
        (plus, "p=tls-server-end-point,,", None),
        // "I could, but you don't": we do, so somebody has taken it out of our offer.
        (plain, "y,,", Some("28000")),
        (plain, "p=tls-server-end-point,,", Some("08P01")),
        (plus, "n,,", Some("08P01")),
        (plus, "y,,", Some("08P01")),
        (plus, "p=tls-unique,,", Some("0A000")),
        (plus, "p=,,", Some("0A000")),
        (plus, "", Some("08P01")),
        ("SCRAM-SHA-1", "n,,", Some("08P01")),
        ("", "n,,", Some("08P01")),
    ] {
        let answer = chosen(&sluice, &pki, mechanism, &format!("{header}n=,r=abcdefghijklmnopqr")).await;
        assert_eq!(
            answer.field(b'C').filter(|_| answer.tag == b'E').as_deref(),
            expected,
            "{mechanism} {header}"
        );
    }
}

#[tokio::test]
async fn what_is_bound_to_another_connection_does_not_count() {
    crate::needs_proxy!();
    let pki = Pki::new();
    let sluice = proxy().certificate(&pki.issue("server"), "").start();
    let mut raw = encrypted(sluice.port, pki.client(&[], None)).await;
    raw.send(&msg::startup(196_608, &[("user", &sluice.database.user)])).await;
    raw.frame().await.unwrap();
    let first = "p=tls-server-end-point,,n=,r=abcdefghijklmnopqr";
    let length = u32::try_from(first.len()).unwrap().to_be_bytes();
    raw.send(&msg::frame(b'p', &[b"SCRAM-SHA-256-PLUS\0", &length[..], first.as_bytes()].concat())).await;
    let server_first = String::from_utf8(raw.frame().await.unwrap().body[4..].to_vec()).unwrap();
    let nonce = server_first.split(',').next().unwrap();
    // `p=tls-server-end-point,,` and the hash of nothing we have shown.
    let last = format!("c=cD10bHMtc2VydmVyLWVuZC1wb2ludCwsb3RoZXI=,{nonce},p={}", "A".repeat(43) + "=");
    raw.send(&msg::frame(b'p', last.as_bytes())).await;
    let answer = raw.frame().await.unwrap();
    assert_eq!((answer.tag, answer.field(b'C').as_deref()), (b'E', Some("28000")));
}

#[tokio::test]
async fn it_is_not_offered_without_tls() {
    crate::needs_proxy!();
    let pki = Pki::new();
    let sluice = proxy().certificate(&pki.issue("server"), "").start();
    let mut raw = crate::support::Raw::connect(sluice.port).await.unwrap();
    raw.send(&msg::startup(196_608, &[("user", &sluice.database.user)])).await;
    assert_eq!(raw.frame().await.unwrap().body, b"\0\0\0\x0aSCRAM-SHA-256\0\0");
    let mut command = programs::program("psql", &sluice);
    command.env("PGSSLMODE", "disable").env("PGCHANNELBINDING", "require").args(["-X", "-c", "SELECT 1"]);
    assert!(!programs::run(command).ok);
}
