//! SIGHUP: the files that may change are read again, and a bad one changes nothing.

use rustix::process::Signal;

use crate::support::{eventually, proxy};

#[tokio::test]
async fn auth_file_is_read_again() {
    crate::needs_proxy!();
    let path = crate::support::lab().cluster.home().path().join("reload-userlist");
    std::fs::write(&path, "\"nobody\" \"x\"\n").unwrap();
    let sluice = proxy().setting(&format!("[auth]\nauth_file = \"{}\"", path.display())).start();
    let connects = async || sluice.config().connect(tokio_postgres::NoTls).await.is_ok();
    assert!(connects().await, "by the secret on the primary");
    // An empty secret in the file lets nobody in, whatever the primary would say.
    std::fs::write(&path, format!("\"{}\" \"\"\n", sluice.database.user)).unwrap();
    sluice.signal(Signal::HUP);
    eventually("the new file counts", || async { !connects().await }).await;
    std::fs::write(&path, "no userlist\n").unwrap();
    sluice.signal(Signal::HUP);
    eventually("the error is told", || async { sluice.log().contains("the users from before stay") }).await;
    assert!(!connects().await);
    std::fs::write(&path, "").unwrap();
    sluice.signal(Signal::HUP);
    eventually("an empty file counts", connects).await;
}
