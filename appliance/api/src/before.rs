//! The document before the one in force, of which the next one is made.
//!
//! Services still look at the document in force, so that it cannot be changed itself, and a copy costs as much as there is.
//! The one before is nobody's any more: it catches up with the change after it, and takes the next one.

use std::sync::Arc;

use crate::delta::{Delta, DeltaError};
use crate::document::Document;

/// The document before the one in force, and what has led from there.
#[derive(Debug)]
pub struct Before {
    /// The document before.
    pub document: Arc<Document>,
    /// What makes the one in force of it.
    pub delta: Arc<Delta>,
}

impl Before {
    /// The document that a change of the one in force leads to. It is copied only if there is none before it, or somebody
    /// still looks at that.
    ///
    /// # Errors
    /// When the change does not begin at the document in force.
    pub fn next(
        before: Option<Self>,
        in_force: &Arc<Document>,
        delta: &Delta,
    ) -> Result<Arc<Document>, DeltaError> {
        let mut next = before.and_then(Self::caught_up).unwrap_or_else(|| Arc::clone(in_force));
        delta.apply(Arc::make_mut(&mut next))?;
        Ok(next)
    }

    fn caught_up(mut self) -> Option<Arc<Document>> {
        self.delta.apply(Arc::get_mut(&mut self.document)?).ok()?;
        Some(self.document)
    }
}

#[cfg(test)]
mod tests {
    use podzol_vocab::{Generation, PortForwardId, Transport};

    use super::*;
    use crate::PortForward;

    fn put(from: u64, id: PortForwardId, to_port: u16) -> Arc<Delta> {
        let forward = PortForward {
            public: [203, 0, 113, 10].into(),
            transport: Transport::Tcp,
            ports: "80".parse().unwrap(),
            to: [10, 1, 1, 2].into(),
            to_port,
        };
        let mut delta = Delta { from: Generation(from), to: Generation(from + 1), ..Delta::default() };
        delta.port_forwards.put.insert(id, forward);
        Arc::new(delta)
    }

    #[test]
    fn a_document_that_nobody_looks_at_any_more_becomes_the_next_one() {
        let id = PortForwardId::new();
        let deltas = [put(0, id, 80), put(1, PortForwardId::new(), 81), put(2, id, 82), put(3, id, 83)];
        let (mut in_force, mut copied) = (Arc::new(Document::default()), Document::default());
        let mut before: Option<Before> = None;
        let mut looked_at = Vec::new();
        for (number, delta) in deltas.into_iter().enumerate() {
            let old = before.as_ref().map(|before| Arc::as_ptr(&before.document));
            let next = Before::next(before.take(), &in_force, &delta).unwrap();
            delta.apply(&mut copied).unwrap();
            assert_eq!(*next, copied);
            // Somebody still looks at the document before the last change.
            assert_eq!(old == Some(Arc::as_ptr(&next)), matches!(number, 1 | 2), "change {number}");
            if number == 2 {
                looked_at.push(Arc::clone(&in_force));
            }
            before = Some(Before { document: std::mem::replace(&mut in_force, next), delta });
        }
        assert_eq!(looked_at[0].generation, Generation(2));
    }

    #[test]
    fn a_change_that_begins_elsewhere_leads_nowhere() {
        let in_force = Arc::new(Document::default());
        let elsewhere = DeltaError::Elsewhere { in_force: Generation(0) };
        assert_eq!(Before::next(None, &in_force, &put(7, PortForwardId::new(), 1)), Err(elsewhere));
    }
}
