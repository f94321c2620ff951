//! SIGTERM: no new clients, transactions may end, then everybody is told.

use rustix::process::Signal;

use crate::support::{eventually, proxy};

#[tokio::test]
async fn a_transaction_may_end_and_new_clients_are_refused() {
    crate::needs_proxy!();
    let mut sluice = proxy().start();
    let (busy, mut idle) = (sluice.connect().await, sluice.raw().await);
    busy.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    busy.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
    sluice.signal(Signal::TERM);
    eventually("new clients are refused", || async {
        sluice.config().connect(tokio_postgres::NoTls).await.is_err()
    })
    .await;
    let last = idle.until_closed().await;
    assert_eq!(last.last().and_then(|f| f.field(b'C')).as_deref(), Some("57P01"), "{last:?}");
    busy.batch_execute("INSERT INTO t VALUES (2); COMMIT").await.unwrap();
    assert!(sluice.exit().await.success());
    assert_eq!(sluice.database.direct().await.text("SELECT count(*) FROM t").await, "2");
}

#[tokio::test]
async fn without_clients_it_ends_at_once() {
    crate::needs_proxy!();
    for signal in [Signal::TERM, Signal::INT] {
        let mut sluice = proxy().start();
        sluice.connect().await.text("SELECT 1").await;
        sluice.signal(signal);
        assert!(sluice.exit().await.success(), "{}", sluice.log());
    }
}
