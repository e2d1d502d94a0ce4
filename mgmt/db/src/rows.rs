//! Rows of small tables that nearly every request asks for, kept in memory as they were last committed.
//!
//! An id is unique in the installation, so it alone says which row is meant. What a transaction has written it reads from
//! the database itself, and what it committed is forgotten here before anybody can have read it. Read at the same time as
//! somebody commits, a row may be of the state before: it is kept only if none of the commits meanwhile wrote it, of which
//! the last [`RECENT`] are remembered.
//!
//! Refused: rows of VMs, volumes and operations. They change with every step, and are read once or twice in between.

use std::any::Any;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most rows that are kept; then all are read anew.
const MOST: usize = 200_000;

/// Of how many commits it is remembered what they wrote. Reading a row takes a few milliseconds.
const RECENT: usize = 64;

/// The rows that are kept.
#[derive(Debug, Default)]
pub struct Rows(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    rows: HashMap<String, Arc<dyn Any + Send + Sync>>,
    /// How often some were forgotten.
    commits: u64,
    /// What the last of those commits wrote, the newest last.
    recent: VecDeque<HashSet<String>>,
}

impl Rows {
    /// The row with that id, or what [`Rows::keep`] wants to know for one that is read now.
    pub(crate) fn get<M: Clone + 'static>(&self, id: &str) -> Result<M, u64> {
        let kept = self.kept();
        kept.rows.get(id).and_then(|row| row.downcast_ref::<M>()).cloned().ok_or(kept.commits)
    }

    /// Keeps a row that was read, unless somebody has written it meanwhile, after so many commits.
    pub(crate) fn keep<M: Send + Sync + 'static>(&self, id: String, row: M, commits: u64) {
        let mut kept = self.kept();
        let meanwhile = (kept.commits - commits) as usize;
        if meanwhile > kept.recent.len()
            || kept.recent.iter().rev().take(meanwhile).any(|ids| ids.contains(&id))
        {
            return;
        }
        if kept.rows.len() >= MOST {
            kept.rows.clear();
        }
        kept.rows.insert(id, Arc::new(row));
    }

    /// Forgets what was written.
    pub(crate) fn forget(&self, written: HashSet<String>) {
        let mut kept = self.kept();
        kept.commits += 1;
        for id in &written {
            kept.rows.remove(id);
        }
        kept.recent.push_back(written);
        if kept.recent.len() > RECENT {
            kept.recent.pop_front();
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_was_read_before_it_was_written_is_not_kept_after_that() {
        let rows = Rows::default();
        let before = rows.get::<u8>("a").unwrap_err();
        rows.forget(["a".to_owned()].into());
        rows.keep("a".into(), 1u8, before);
        let now = rows.get::<u8>("a").unwrap_err();
        rows.forget(["b".to_owned()].into());
        rows.keep("a".into(), 2u8, now);
        assert_eq!(rows.get("a"), Ok(2u8));
        assert!(rows.get::<u16>("a").is_err(), "a row of another table");
        rows.forget(["a".to_owned()].into());
        let now = rows.get::<u8>("a").unwrap_err();
        for _ in 0..=RECENT {
            rows.forget(HashSet::new());
        }
        rows.keep("a".into(), 3u8, now);
        assert!(rows.get::<u8>("a").is_err(), "nobody remembers whether it was written");
    }
}
