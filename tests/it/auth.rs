//! Who may log in, and what a stranger can learn.

use crate::support::lab::options;
use crate::support::raw::tags;
use crate::support::{Builder, Frame, Lab, Raw, Sluice, eventually, msg, proxy, sqlstate};

/// Everything the other side sends up to the refusal, the random parts left out.
async fn refusal(sluice: &Sluice, user: &str, password: &str, database: &str) -> (String, Frame) {
    let mut raw = Raw::connect(sluice.port).await.unwrap();
    raw.send(&msg::startup(196_608, &[("user", user), ("database", database)])).await;
    let error = raw.authenticate(user, password).await.unwrap_err();
    assert_eq!(raw.until_closed().await, []);
    (user.to_owned(), error)
}

fn fields(answer: &(String, Frame)) -> Vec<Option<String>> {
    let (user, frame) = answer;
    b"SVCMDH".iter().map(|code| frame.field(*code).map(|text| text.replace(user.as_str(), "USER"))).collect()
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_look_the_same() {
    let sluice = proxy().start();
    let database = &sluice.database;
    let wrong = refusal(&sluice, &database.user, "wrong", &database.name).await;
    let unknown = refusal(&sluice, "nobody_here", "wrong", &database.name).await;
    assert_eq!(fields(&wrong), fields(&unknown));
    assert_eq!(wrong.1.field(b'C').as_deref(), Some("28P01"));
    if !crate::support::direct() {
        let absent = refusal(&sluice, "nobody_here", "wrong", "no_such_database").await;
        assert_eq!(fields(&absent), fields(&unknown));
    }
}

/// The salt of an unknown user must be as constant as that of a known one.
#[tokio::test]
async fn the_salt_does_not_tell_either() {
    let sluice = proxy().start();
    let mut challenges = Vec::new();
    for user in [
        "nobody_here",
        "nobody_here",
        sluice.database.user.as_str(),
        sluice.database.user.as_str(),
        "another",
    ] {
        let mut raw = Raw::connect(sluice.port).await.unwrap();
        raw.send(&msg::startup(196_608, &[("user", user)])).await;
        assert_eq!(raw.frame().await.unwrap().body[..4], [0, 0, 0, 10]);
        let first = b"n,,n=,r=abcdefghijklmnopqr";
        let length = u32::try_from(first.len()).unwrap().to_be_bytes();
        raw.send(&msg::frame(b'p', &[b"SCRAM-SHA-256\0", length.as_slice(), first].concat())).await;
        let frame = raw.frame().await.unwrap();
        let text = String::from_utf8(frame.body[4..].to_vec()).unwrap();
        let salt: Vec<_> = text.split(',').filter(|p| !p.starts_with("r=")).map(str::to_owned).collect();
        challenges.push(salt);
    }
    assert_eq!(challenges[0], challenges[1]);
    assert_eq!(challenges[2], challenges[3]);
    assert_ne!(challenges[0], challenges[4]);
    let shape = |c: &Vec<String>| (c[0].len(), c[1].clone());
    assert_eq!(shape(&challenges[0]), shape(&challenges[2]));
}

#[tokio::test]
async fn malformed_authentication_messages_are_refused() {
    let sluice = proxy().start();
    let bodies: [&[u8]; 9] = [
        b"",
        b"\0",
        b"SCRAM-SHA-256",
        b"SCRAM-SHA-256\0",
        b"SCRAM-SHA-256\0\0\0\0\xff",
        b"SCRAM-SHA-256\0\x7f\xff\xff\xffn,,n=,r=x",
        b"SCRAM-SHA-256\0\xff\xff\xff\xff",
        b"SCRAM-SHA-1\0\0\0\0\x0an,,n=,r=x",
        b"SCRAM-SHA-256\0\0\0\0\x03n,,",
    ];
    for body in bodies {
        let mut raw = Raw::connect(sluice.port).await.unwrap();
        let user = sluice.database.user.as_str();
        raw.send(&msg::startup(196_608, &[("user", user), ("database", &sluice.database.name)])).await;
        assert_eq!(raw.frame().await.unwrap().tag, b'R');
        raw.send(&msg::frame(b'p', body)).await;
        // Where the message is only unfinished, the end of the stream must settle it.
        tokio::io::AsyncWriteExt::shutdown(&mut raw.stream).await.unwrap();
        let frames = raw.until_closed().await;
        assert!(
            frames.iter().all(|f| f.tag == b'E' || (f.tag == b'R' && f.body[..4] == [0, 0, 0, 11])),
            "{frames:?}"
        );
    }
    sluice.connect().await.text("SELECT 1").await;
}

#[tokio::test]
async fn nothing_is_answered_before_the_login_is_complete() {
    let sluice = proxy().start();
    let mut raw = Raw::connect(sluice.port).await.unwrap();
    raw.send(&msg::startup(196_608, &[("user", &sluice.database.user)])).await;
    raw.send(&msg::query("SELECT 'too early'")).await;
    let frames = raw.until_closed().await;
    assert_eq!(tags(&frames).trim_start_matches('R'), "E", "{frames:?}");
}

#[tokio::test]
async fn a_changed_password_holds_soon() {
    let sluice = proxy().start();
    sluice.connect().await.text("SELECT 1").await;
    let admin = sluice.database.admin().await;
    admin.batch_execute(&format!("ALTER ROLE {} PASSWORD 'changed'", sluice.database.user)).await.unwrap();
    let mut config = sluice.config();
    config.password("changed");
    eventually("the new password works", || async { config.connect(tokio_postgres::NoTls).await.is_ok() })
        .await;
    let error = sluice.config().connect(tokio_postgres::NoTls).await.map(drop).unwrap_err();
    assert_eq!(sqlstate(&error), "28P01");
    config.connect(tokio_postgres::NoTls).await.map(drop).unwrap();
}

#[tokio::test]
async fn an_expired_password_is_refused() {
    let sluice = proxy().start();
    let admin = sluice.database.admin().await;
    admin
        .batch_execute(&format!("ALTER ROLE {} VALID UNTIL '2001-01-01'", sluice.database.user))
        .await
        .unwrap();
    let error = sluice.config().connect(tokio_postgres::NoTls).await.map(drop).unwrap_err();
    assert_eq!(sqlstate(&error), "28P01");
}

/// `search_path` comes from the client: it must not reach the connection that looks passwords up.
#[tokio::test]
async fn a_hostile_search_path_does_not_help() {
    crate::needs_proxy!();
    let sluice = proxy().start();
    let admin = sluice.database.admin().await;
    admin.batch_execute("CREATE SCHEMA evil; CREATE VIEW evil.pg_authid AS SELECT 'nobody_here'::name AS rolname,
        true AS rolcanlogin, NULL::timestamptz AS rolvaliduntil, ''::text AS rolpassword; GRANT USAGE ON SCHEMA evil TO public;
        GRANT SELECT ON evil.pg_authid TO public").await.unwrap();
    for parameters in [[("search_path", "evil")], [("options", "-c search_path=evil")]] {
        let login = Raw::login(sluice.port, "nobody_here", "", &sluice.database.name, &parameters).await;
        assert_eq!(login.map(drop).unwrap_err().field(b'C').as_deref(), Some("28P01"));
    }
}

#[tokio::test]
async fn users_of_a_userlist_file() {
    crate::needs_proxy!();
    let database = crate::support::lab().database();
    let admin = database.admin().await;
    let verifier =
        admin.text(&format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{}'", database.user)).await;
    let other = crate::support::lab().database();
    let path = database.lab.cluster.home().path().join(format!("userlist-{}.txt", database.name));
    let text = format!(
        "; comment\n\"{}\" \"{verifier}\"\n\"{}\" \"{}\"\n",
        database.user, other.user, other.password
    );
    std::fs::write(&path, text).unwrap();
    let setting = format!("[auth]\nauth_file = \"{}\"", path.display());
    let sluice = proxy().setting(&setting).start_for(database);
    assert_eq!(sluice.connect().await.text("SELECT 1").await, "1");
    assert_eq!(sluice.connect_as(&other).await.text("SELECT 2").await, "2");
    let wrong = refusal(&sluice, &sluice.database.user, "wrong", &sluice.database.name).await;
    assert_eq!(wrong.1.field(b'C').as_deref(), Some("28P01"));
}

#[tokio::test]
async fn md5_passwords_where_a_server_still_has_them() {
    let mut options = options().setting("password_encryption", "md5");
    options.hba.push("host all all 127.0.0.1/32 md5".into());
    let lab = Lab::private(options);
    let sluice = Builder::new(lab).start();
    let mut raw = Raw::connect(sluice.port).await.unwrap();
    let database = &sluice.database;
    raw.send(&msg::startup(196_608, &[("user", &database.user), ("database", &database.name)])).await;
    raw.authenticate(&database.user, &database.password).await.unwrap();
    assert_eq!(tags(&raw.query("SELECT 1").await), "TDCZ");
    let wrong = refusal(&sluice, &database.user, "wrong", &database.name).await;
    assert_eq!(wrong.1.field(b'C').as_deref(), Some("28P01"));
}

/// Whoever may not use a database directly may not use it through a pool that somebody else filled.
#[tokio::test]
async fn permissions_are_the_clients_own() {
    let sluice = proxy().pool_size(1).start();
    let owner = sluice.connect().await;
    owner.batch_execute("CREATE TABLE private (n int)").await.unwrap();
    let stranger = sluice.database.lab.database();
    let mut raw = Raw::login(sluice.port, &stranger.user, &stranger.password, &sluice.database.name, &[])
        .await
        .unwrap();
    let frames = raw.query("SELECT current_user").await;
    assert_eq!(frames[1].columns(), [Some(stranger.user.clone())]);
    assert_eq!(raw.query("TABLE private").await[0].field(b'C').as_deref(), Some("42501"));
    owner.batch_execute("TABLE private").await.unwrap();
}

#[tokio::test]
async fn two_hundred_logins_at_once() {
    let sluice = proxy().start();
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let (port, d) = (sluice.port, &sluice.database);
            let (user, password, name) = (d.user.clone(), d.password.clone(), d.name.clone());
            tokio::spawn(async move { Raw::login(port, &user, &password, &name, &[]).await.map(drop) })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
}
