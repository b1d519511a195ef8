//! The session that a client keeps from one small backup to the next, so that a backup costs one Raft round and not two.
//!
//! ```text
//!   backup ends well ─▶ kept ──the next one, soon──▶ taken ─▶ …
//!                        └── unused for a minute, closed, or its place is wanted ──▶ ended
//! ```
//!
//! Promises: at most one is kept, and whoever takes it has it alone; a client that was closed keeps none. What is kept are
//! facts, not a `Session`, which holds its client. Not here: what a session does (`session.rs`),
//! when one is kept (`backup.rs`).

use std::sync::{Mutex, MutexGuard, PoisonError};

use strongroom_format::id::{GroupId, LeaseId, SessionId};
use tokio::task::AbortHandle;

/// A session that nobody uses now.
#[derive(Debug)]
pub(crate) struct Kept {
    pub group: GroupId,
    pub id: SessionId,
    pub lease: LeaseId,
    /// What may be written under its lease,
    pub budget_bytes: u64,
    /// and what was.
    pub used_bytes: u64,
    /// The last number that was given.
    pub last: u64,
}

/// The place for one.
#[derive(Debug, Default)]
pub(crate) struct Keep(Mutex<Place>);

#[derive(Debug, Default)]
struct Place {
    kept: Option<(Kept, AbortHandle)>,
    is_closed: bool,
}

impl Keep {
    /// Keeps a session, and stops `watch`, a task that waits to end it, when somebody takes it. Gives it back if another is
    /// kept already, or the client was closed.
    pub(crate) fn put(&self, kept: Kept, watch: AbortHandle) -> Result<(), Kept> {
        let mut place = self.lock();
        if place.is_closed || place.kept.is_some() {
            watch.abort();
            return Err(kept);
        }
        place.kept = Some((kept, watch));
        Ok(())
    }

    /// Takes what is kept.
    pub(crate) fn take(&self) -> Option<Kept> {
        Self::unwatched(self.lock().kept.take())
    }

    /// Takes what is kept, if it is this one: for the task that watches it.
    pub(crate) fn take_this(&self, id: SessionId) -> Option<Kept> {
        self.lock().kept.take_if(|(kept, _)| kept.id == id).map(|(kept, _)| kept)
    }

    /// Takes what is kept; from now on nothing is.
    pub(crate) fn close(&self) -> Option<Kept> {
        let mut place = self.lock();
        place.is_closed = true;
        Self::unwatched(place.kept.take())
    }

    fn unwatched(taken: Option<(Kept, AbortHandle)>) -> Option<Kept> {
        let (kept, watch) = taken?;
        watch.abort();
        Some(kept)
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinHandle;

    use super::*;

    fn session(of: u64) -> Kept {
        Kept { group: GroupId(1), id: SessionId(of), lease: LeaseId(of), budget_bytes: 7, used_bytes: 3, last: 5 }
    }

    fn watch() -> JoinHandle<()> {
        tokio::spawn(std::future::pending())
    }

    #[tokio::test]
    async fn one_session_is_kept_and_given_to_one() {
        let keep = Keep::default();
        assert!(keep.take().is_none());
        keep.put(session(1), watch().abort_handle()).unwrap();
        let unwanted = watch();
        let refused = keep.put(session(2), unwanted.abort_handle()).unwrap_err();
        assert_eq!(refused.id, SessionId(2), "its place is taken");
        assert!(unwanted.await.unwrap_err().is_cancelled());
        let taken = keep.take().unwrap();
        assert_eq!((taken.id, taken.used_bytes, taken.last), (SessionId(1), 3, 5), "numbers go on where they were");
        assert!(keep.take().is_none());
    }

    #[tokio::test]
    async fn a_closed_client_keeps_nothing() {
        let keep = Keep::default();
        keep.put(session(1), watch().abort_handle()).unwrap();
        assert_eq!(keep.close().unwrap().id, SessionId(1));
        assert!(keep.put(session(1), watch().abort_handle()).is_err());
        assert!(keep.take().is_none() && keep.close().is_none());
    }

    #[tokio::test]
    async fn whoever_takes_a_session_stops_who_waits_to_end_it() {
        let keep = Keep::default();
        let waits = watch();
        keep.put(session(1), waits.abort_handle()).unwrap();
        assert!(keep.take_this(SessionId(2)).is_none(), "another one is kept");
        assert!(!waits.is_finished());
        keep.take().unwrap();
        assert!(waits.await.unwrap_err().is_cancelled());
        assert!(keep.take_this(SessionId(1)).is_none(), "one that was taken ends with who has it");
    }
}
