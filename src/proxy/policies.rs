//! How a data thread goes by the policies that were published last, without a lock.

use std::sync::Arc;

use super::thread::{Thread, Work};

/// Takes up what was published since the last time: a comparison of two pointers if nothing was.
#[inline]
pub(super) fn follow(thread: &Thread, work: &mut Work) {
    let published = &work.snapshot.load().policies;
    if published.as_ref().map(Arc::as_ptr) != work.policies.as_ref().map(Arc::as_ptr) {
        take_up(thread, work);
    }
}

#[cold]
fn take_up(thread: &Thread, work: &mut Work) {
    // Tell of the canary that ends before it is forgotten.
    report_of(work);
    let Some(published) = work.snapshot.load().policies.clone() else { return };
    let policies = &published.version.policies;
    if !Arc::ptr_eq(work.guard.policies(), policies) {
        work.guard.set_policies(Arc::clone(policies));
    }
    let canary = published.canary.as_ref().map(|canary| Arc::clone(&canary.version.policies));
    work.guard.set_shadow(canary);
    work.routes = policies.routes();
    thread.rules.replace(published.rules.clone());
    work.policies = Some(published);
}

/// Tells what the canary would have decided otherwise.
pub(super) fn report(thread: &Thread) {
    // Idle threads come along here.
    let Ok(mut work) = thread.work.try_borrow_mut() else { return };
    follow(thread, &mut work);
    report_of(&mut work);
}

fn report_of(work: &mut Work) {
    let canary = work.policies.as_ref().and_then(|published| published.canary.as_ref());
    if let (Some(canary), Some(report)) = (canary, work.guard.take_report()) {
        canary.tell(report);
    }
}
