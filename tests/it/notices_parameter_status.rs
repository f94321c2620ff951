//! What comes unasked: notices and ParameterStatus.

use crate::support::proxy;

#[tokio::test]
async fn a_login_reports_the_servers_parameters() {
    let sluice = proxy().start();
    let through = sluice.raw().await;
    let direct = sluice.database.raw_direct().await;
    let mut names: Vec<_> = direct.parameters.keys().collect();
    names.sort();
    for name in names {
        assert_eq!(through.parameters.get(name), direct.parameters.get(name), "{name}");
    }
    assert!(through.parameters.contains_key("server_version"));
    assert_ne!(through.process_id, 0);
    assert!(through.secret.len() >= 4);
}

#[tokio::test]
async fn notices_reach_the_one_who_caused_them() {
    // Two server connections: what a DO does nobody can tell, so it keeps its own.
    let sluice = proxy().pool_size(2).start();
    let (one, two) = (sluice.connect().await, sluice.connect().await);
    one.batch_execute("DO $$BEGIN RAISE NOTICE 'for one'; END$$").await.unwrap();
    two.batch_execute("DROP TABLE IF EXISTS absent").await.unwrap();
    let messages = |notices: Vec<tokio_postgres::error::DbError>| {
        notices.iter().map(|n| n.message().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(messages(one.notices()), ["for one"]);
    assert_eq!(messages(two.notices()).len(), 1);
    assert!(messages(two.notices())[0].contains("absent"));
}

#[tokio::test]
async fn a_changed_parameter_is_reported() {
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    let frames = raw.query("SET application_name = 'shop'").await;
    let status = frames.iter().find(|f| f.tag == b'S').expect("a ParameterStatus");
    assert_eq!(status.body, b"application_name\0shop\0");
    assert_eq!(raw.query("SHOW application_name").await[1].columns(), [Some("shop".into())]);
}

#[tokio::test]
async fn start_up_parameters_are_in_force() {
    let sluice = proxy().pool_size(1).start();
    let database = &sluice.database;
    let parameters = [
        ("application_name", "till 4"),
        ("TimeZone", "Asia/Tokyo"),
        ("DateStyle", "SQL, DMY"),
        ("client_encoding", "UTF8"),
    ];
    let login = crate::support::Raw::login(
        sluice.port,
        &database.user,
        &database.password,
        &database.name,
        &parameters,
    );
    let mut special = login.await.unwrap();
    let mut plain = sluice.raw().await;
    for _ in 0..3 {
        let frames = special
            .query(
                "SELECT current_setting('application_name'), current_setting('TimeZone'), '2001-02-03'::date",
            )
            .await;
        let expected = ["till 4", "Asia/Tokyo", "03/02/2001"].map(|s| Some(s.to_owned()));
        let row = frames.iter().find(|f| f.tag == b'D').unwrap();
        assert_eq!(row.columns(), expected);
        let frames = plain.query("SELECT current_setting('TimeZone'), '2001-02-03'::date").await;
        let row = frames.iter().find(|f| f.tag == b'D').unwrap();
        assert_eq!(row.columns(), ["UTC", "2001-02-03"].map(|s| Some(s.to_owned())));
    }
    assert_eq!(special.parameters.get("TimeZone").map(String::as_str), Some("Asia/Tokyo"));
}
