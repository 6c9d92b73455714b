// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bound of the time in which writes are held for a capture.

use block::Hold;
use std::io;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Instant;

/// Runs `work` under the hold, which ends with it but at `until` at the latest, however long `work` takes: hosts give
/// up on disks that take no writes. Says whether the hold lasted; where it did not, writes have passed meanwhile and
/// what `work` captured is no common instant.
///
/// # Errors
/// The system gives no thread; `work` was not run and the hold has ended.
pub(super) fn under_hold<T>(
    hold: Hold,
    until: Instant,
    work: impl FnOnce() -> T,
) -> io::Result<(T, bool)> {
    let (done, ended) = channel::<()>();
    std::thread::scope(|scope| {
        let keeper = std::thread::Builder::new()
            .name("hold".to_owned())
            .spawn_scoped(scope, move || {
                let left = until.saturating_duration_since(Instant::now());
                let told = ended.recv_timeout(left);
                drop(hold);
                told != Err(RecvTimeoutError::Timeout) && Instant::now() <= until
            })?;
        let result = work();
        drop(done);
        let lasted = keeper.join().expect("opening a fence does not panic");
        Ok((result, lasted))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::{WriteFence, hold_all};
    use std::slice;
    use std::sync::mpsc::Receiver;
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(20);

    /// A hold, and word of a write that it parks.
    fn hold_with_a_parked_write() -> (Hold, Receiver<()>) {
        let fence = WriteFence::new();
        let hold = hold_all(slice::from_ref(&fence), Instant::now() + LONG).unwrap();
        let (sender, receiver) = channel();
        fence.enter(move |_permit| sender.send(()).unwrap());
        (hold, receiver)
    }

    #[test]
    fn hold_over_its_time_lets_writes_pass_while_the_work_goes_on() {
        let (hold, passed) = hold_with_a_parked_write();
        let (word, lasted) =
            under_hold(hold, Instant::now(), || passed.recv_timeout(LONG)).unwrap();
        assert_eq!(word, Ok(()));
        assert!(!lasted);
    }

    #[test]
    fn hold_in_time_lets_writes_pass_after_the_work() {
        let (hold, passed) = hold_with_a_parked_write();
        let (early, lasted) =
            under_hold(hold, Instant::now() + LONG, || passed.try_recv()).unwrap();
        assert!(early.is_err());
        assert!(lasted);
        assert_eq!(passed.recv_timeout(LONG), Ok(()));
    }
}
