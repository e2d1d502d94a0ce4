//! Rows of small tables that nearly every request asks for, kept in memory as they were last committed.
//!
//! An id is unique in the installation, so it alone says which row is meant. What a transaction has written it reads from
//! the database itself, and what it committed is forgotten here before the commit is told to anybody. Read at the same time
//! as somebody commits, a row may be of the state before; it is not kept then, which the count of commits shows.
//!
//! Refused: rows of VMs, volumes and operations. They change with every step, and are read once or twice in between.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most rows that are kept; then all are read anew.
const MOST: usize = 200_000;

/// The rows that are kept.
#[derive(Debug, Default)]
pub struct Rows(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    rows: HashMap<String, Arc<dyn Any + Send + Sync>>,
    /// How often some were forgotten.
    commits: u64,
}

impl Rows {
    /// The row with that id, or what [`Rows::keep`] wants to know for one that is read now.
    pub(crate) fn get<M: Clone + 'static>(&self, id: &str) -> Result<M, u64> {
        let kept = self.kept();
        kept.rows.get(id).and_then(|row| row.downcast_ref::<M>()).cloned().ok_or(kept.commits)
    }

    /// Keeps a row that was read, unless somebody has committed meanwhile.
    pub(crate) fn keep<M: Send + Sync + 'static>(&self, id: String, row: M, commits: u64) {
        let mut kept = self.kept();
        if kept.commits != commits {
            return;
        }
        if kept.rows.len() >= MOST {
            kept.rows.clear();
        }
        kept.rows.insert(id, Arc::new(row));
    }

    /// Forgets what was written.
    pub(crate) fn forget(&self, written: &HashSet<String>) {
        let mut kept = self.kept();
        kept.commits += 1;
        for id in written {
            kept.rows.remove(id);
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
    fn a_row_that_was_read_before_a_commit_is_not_kept_after_it() {
        let rows = Rows::default();
        let before = rows.get::<u8>("a").unwrap_err();
        rows.forget(&["a".to_owned()].into());
        rows.keep("a".into(), 1u8, before);
        let now = rows.get::<u8>("a").unwrap_err();
        rows.keep("a".into(), 2u8, now);
        assert_eq!(rows.get("a"), Ok(2u8));
        assert!(rows.get::<u16>("a").is_err(), "a row of another table");
        rows.forget(&["a".to_owned()].into());
        assert!(rows.get::<u8>("a").is_err());
    }
}
