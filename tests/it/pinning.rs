//! Session state stays with who made it, and only with him.

use crate::support::{Session, Sluice, eventually, proxy};

/// A kind of session state: how it is made, how it shows, and what its owner sees.
struct State {
    name: &'static str,
    make: &'static [&'static str],
    probe: &'static str,
    owner_sees: &'static str,
}

const STATES: [State; 11] = [
    State { name: "SET", make: &["SET work_mem = '1234kB'"], probe: "SHOW work_mem", owner_sees: "1234kB" },
    State {
        name: "set_config",
        make: &["SELECT set_config('work_mem', '1235kB', false)"],
        probe: "SHOW work_mem",
        owner_sees: "1235kB",
    },
    // As every program of pg_dump's kind begins.
    State {
        name: "an empty search_path",
        make: &["SELECT pg_catalog.set_config('search_path', '', false)"],
        probe: "SHOW search_path",
        owner_sees: "",
    },
    State {
        name: "SET in a transaction",
        make: &["BEGIN", "SET work_mem = '1236kB'", "COMMIT"],
        probe: "SHOW work_mem",
        owner_sees: "1236kB",
    },
    State {
        name: "SET ROLE",
        make: &["SET ROLE pg_monitor"],
        probe: "SELECT current_user",
        owner_sees: "pg_monitor",
    },
    State {
        name: "temporary table",
        make: &["CREATE TEMP TABLE mine (n int)"],
        probe: "SELECT to_regclass('mine') IS NOT NULL",
        owner_sees: "t",
    },
    State {
        name: "LISTEN",
        make: &["LISTEN news"],
        probe: "SELECT count(*) FROM pg_listening_channels()",
        owner_sees: "1",
    },
    State {
        name: "advisory lock",
        make: &["SELECT pg_advisory_lock(42)"],
        probe: "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
        owner_sees: "1",
    },
    State {
        name: "PREPARE",
        make: &["PREPARE mine AS SELECT 7"],
        probe: "SELECT count(*) FROM pg_prepared_statements WHERE name = 'mine'",
        owner_sees: "1",
    },
    State {
        name: "WITH HOLD",
        make: &["BEGIN", "DECLARE mine CURSOR WITH HOLD FOR SELECT 1", "COMMIT"],
        probe: "SELECT count(*) FROM pg_cursors WHERE name = 'mine'",
        owner_sees: "1",
    },
    State {
        name: "DO",
        make: &["DO $$BEGIN PERFORM set_config('work_mem', '1237kB', false); END$$"],
        probe: "SHOW work_mem",
        owner_sees: "1237kB",
    },
];

async fn start(pool_size: u32) -> Sluice {
    let sluice = proxy().pool_size(pool_size).start();
    let grant = format!("GRANT pg_monitor TO {}", sluice.database.user);
    sluice.database.admin().await.batch_execute(&grant).await.unwrap();
    sluice
}

async fn make(client: &Session, state: &State) {
    for text in state.make {
        client.batch_execute(text).await.unwrap_or_else(|e| panic!("{}: {text}: {e:?}", state.name));
    }
}

#[tokio::test]
async fn the_owner_has_it_and_the_other_client_has_not() {
    let sluice = start(2).await;
    for state in &STATES {
        let (owner, other) = (sluice.connect().await, sluice.connect().await);
        make(&owner, state).await;
        for _ in 0..3 {
            assert_eq!(owner.text(state.probe).await, state.owner_sees, "{} for its owner", state.name);
            assert_ne!(other.text(state.probe).await, state.owner_sees, "{} for another", state.name);
        }
    }
}

/// With one server connection the other client gets the very one on which the state was.
#[tokio::test]
async fn nothing_remains_when_the_owner_leaves() {
    let sluice = start(1).await;
    for state in &STATES {
        let owner = sluice.connect().await;
        make(&owner, state).await;
        assert_eq!(owner.text(state.probe).await, state.owner_sees, "{} for its owner", state.name);
        drop(owner);
        let other = sluice.connect().await;
        assert_ne!(other.text(state.probe).await, state.owner_sees, "{} for the next", state.name);
    }
}

#[tokio::test]
async fn by_the_extended_protocol_it_is_the_same() {
    let sluice = start(2).await;
    for state in STATES.iter().filter(|s| s.make.len() == 1) {
        let (owner, other) = (sluice.connect().await, sluice.connect().await);
        owner.query(state.make[0], &[]).await.unwrap();
        assert_eq!(owner.text(state.probe).await, state.owner_sees, "{} for its owner", state.name);
        assert_ne!(other.text(state.probe).await, state.owner_sees, "{} for another", state.name);
    }
}

#[tokio::test]
async fn what_ends_with_the_transaction_pins_nothing() {
    let sluice = start(1).await;
    let (one, two) = (sluice.connect().await, sluice.connect().await);
    let texts =
        ["SET LOCAL work_mem = '1234kB'", "SELECT pg_advisory_xact_lock(1)", "DECLARE c CURSOR FOR SELECT 1"];
    for text in texts {
        one.batch_execute(&format!("BEGIN; {text}; COMMIT")).await.unwrap();
        assert_eq!(two.text("SELECT 'free'").await, "free", "{text}");
        assert_ne!(two.text("SHOW work_mem").await, "1234kB");
    }
}

#[tokio::test]
async fn discard_all_gives_the_server_connection_back() {
    let sluice = start(1).await;
    let (one, two) = (sluice.connect().await, sluice.connect().await);
    for state in &STATES {
        make(&one, state).await;
        one.batch_execute("DISCARD ALL").await.unwrap();
        assert_ne!(two.text(state.probe).await, state.owner_sees, "{}", state.name);
    }
}

#[tokio::test]
async fn notifications_reach_the_listener() {
    let sluice = proxy().pool_size(2).start();
    let (listener, sender) = (sluice.connect().await, sluice.connect().await);
    listener.batch_execute("LISTEN news").await.unwrap();
    sender.batch_execute("NOTIFY news, 'hello'").await.unwrap();
    listener.wait_for_notification("hello").await;
    assert!(sender.notifications().is_empty());
}

#[tokio::test]
async fn each_pin_is_counted_with_its_reason() {
    crate::needs_proxy!();
    let sluice = start(5).await;
    let reasons =
        [("temporary table", "temp_table"), ("LISTEN", "listen"), ("advisory lock", "advisory_lock")];
    for (name, reason) in reasons {
        let state = STATES.iter().find(|s| s.name == name).unwrap();
        let label = format!("reason=\"{reason}\"");
        let owner = sluice.connect().await;
        make(&owner, state).await;
        let once = async || sluice.metric("pgsluice_pins_total", &[&label]).await == 1.0;
        eventually(&format!("one pin for {reason}"), once).await;
    }
}

/// What asyncpg sends when a connection goes back to the application's own pool.
const APPLICATION_RESET: &str = "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;";

#[tokio::test]
async fn an_applications_own_reset_pins_nothing_and_unpins() {
    crate::needs_proxy!();
    let sluice = start(1).await;
    let one = sluice.connect().await;
    one.batch_execute(APPLICATION_RESET).await.unwrap();
    let two = sluice.connect().await;
    assert_eq!(two.text("SELECT 1").await, "1");
    two.batch_execute("LISTEN somewhere; SET work_mem = '7MB'; SELECT pg_advisory_lock(7)").await.unwrap();
    two.batch_execute(APPLICATION_RESET).await.unwrap();
    assert_eq!(one.text("SHOW work_mem").await, "4MB");
    assert_eq!(one.text("SELECT count(*) FROM pg_listening_channels()").await, "0");
    assert_eq!(
        one.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7").await,
        "0"
    );
}

#[tokio::test]
async fn a_reset_brings_back_what_the_client_started_with() {
    crate::needs_proxy!();
    let sluice = start(1).await;
    let database = &sluice.database;
    let zone = [("TimeZone", "Asia/Tokyo")];
    let mut raw =
        crate::support::Raw::login(sluice.port, &database.user, &database.password, &database.name, &zone)
            .await
            .unwrap();
    raw.query("RESET TimeZone").await;
    let frames = raw.query("SHOW TimeZone").await;
    let row = frames.iter().find(|f| f.tag == b'D').unwrap();
    assert!(row.body.ends_with(b"Asia/Tokyo"), "{:?}", String::from_utf8_lossy(&row.body));
    assert_ne!(sluice.connect().await.text("SHOW TimeZone").await, "Asia/Tokyo");
}

#[tokio::test]
async fn names_of_the_servers_own_statements_are_out_of_reach() {
    crate::needs_proxy!();
    let sluice = start(1).await;
    let one = sluice.connect().await;
    let _statement = one.prepare("SELECT 'of another client'").await.unwrap();
    let two = sluice.connect().await;
    for text in ["EXECUTE pgsluice_1_1", "DEALLOCATE \"pgsluice_1_0\"", "PREPARE pgsluice_x AS SELECT 1"] {
        assert_eq!(two.failure(text).await, "26000", "{text}");
    }
}
