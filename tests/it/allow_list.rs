//! An allow-list comes and goes while clients are there: it learns from the moment it is named, and what a person does
//! to its file counts.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Session, Sluice, eventually, proxy};

fn list(mode: &str, file: &str) -> String {
    format!("[allow_list]\nmode = \"{mode}\"\nfile = \"{file}\"\n")
}

const LOOKUP: &str = "SELECT n FROM t WHERE n = 1";

async fn start(policy: &str) -> Sluice {
    let sluice = proxy().policy(policy).start();
    let owner = sluice.database.direct().await;
    owner.batch_execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await.unwrap();
    sluice
}

async fn reload(sluice: &Sluice, policy: &str, generation: u32) {
    sluice.write_policy(policy);
    sluice.signal(Signal::HUP);
    in_force(sluice, generation).await;
}

async fn in_force(sluice: &Sluice, generation: u32) {
    let said = format!("generation {generation} is in force");
    eventually(&said, || async { sluice.log().contains(&said) }).await;
}

fn file(sluice: &Sluice, name: &str) -> String {
    std::fs::read_to_string(sluice.beside(name)).unwrap_or_default()
}

async fn learned(sluice: &Sluice, client: &Session, sql: &str, name: &str) {
    client.batch_execute(sql).await.unwrap();
    eventually("it is written down", || async {
        file(sluice, name).contains(sql.split_once("= ").unwrap().0)
    })
    .await;
}

#[tokio::test]
async fn one_that_comes_with_a_reload_learns_and_then_refuses() {
    crate::needs_proxy!();
    let sluice = start("").await;
    let client = sluice.connect().await;
    client.batch_execute("SELECT n FROM t").await.unwrap();
    reload(&sluice, &list("learn", "seen.toml"), 2).await;
    learned(&sluice, &client, LOOKUP, "seen.toml").await;
    assert!(!file(&sluice, "seen.toml").contains("FROM t\""), "what came before is not in it");
    reload(&sluice, &list("enforce", "seen.toml"), 3).await;
    client.batch_execute("SELECT n FROM t WHERE n = 7").await.unwrap();
    assert_eq!(client.failure("DELETE FROM t WHERE n = 7").await, "42501");
}

#[tokio::test]
async fn one_that_moves_is_written_where_it_is_now_and_its_own_writing_reloads_nothing() {
    crate::needs_proxy!();
    let sluice = start(&list("learn", "one.toml")).await;
    let client = sluice.connect().await;
    learned(&sluice, &client, LOOKUP, "one.toml").await;
    reload(&sluice, &list("learn", "two.toml"), 2).await;
    learned(&sluice, &client, "UPDATE t SET n = 1 WHERE n = 1", "two.toml").await;
    assert!(!file(&sluice, "one.toml").contains("UPDATE"), "{}", file(&sluice, "one.toml"));
    // Longer than the files are looked at twice.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!sluice.log().contains("file change"), "{}", sluice.log());
}

#[tokio::test]
async fn what_a_person_does_to_the_file_is_seen() {
    crate::needs_proxy!();
    let sluice = start(&list("learn", "seen.toml")).await;
    let client = sluice.connect().await;
    learned(&sluice, &client, LOOKUP, "seen.toml").await;
    let learned = file(&sluice, "seen.toml");
    reload(&sluice, &list("enforce", "seen.toml"), 2).await;
    client.batch_execute(LOOKUP).await.unwrap();
    // Taken out.
    sluice.write_beside("seen.toml", "# nothing\n");
    in_force(&sluice, 3).await;
    assert_eq!(client.failure(LOOKUP).await, "42501");
    // A mistake changes nothing, and is mended where it is.
    sluice.write_beside("seen.toml", "[[allowed]]\nfingerprint = \"x\"\n");
    eventually("it is refused", || async { sluice.log().contains("generation 3 stays") }).await;
    assert_eq!(client.failure(LOOKUP).await, "42501");
    sluice.write_beside("seen.toml", &learned);
    in_force(&sluice, 4).await;
    client.batch_execute(LOOKUP).await.unwrap();
}
