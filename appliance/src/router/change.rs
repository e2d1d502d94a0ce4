//! Whether a document that is put, or that a change leads to, may come into force.

use std::sync::Arc;

use podzol_appliance_api::{Before, Checker, Delta, DeltaError, Document, Problem};
use podzol_vocab::{ErrorCode, Generation, Order, WireError};

use super::Router;

/// How many of a document's problems an answer names.
const TOLD: usize = 5;

impl Router {
    /// Puts a document in force.
    ///
    /// # Errors
    /// When it is older, breaks a rule, or cannot be applied. Nothing is changed then.
    pub(crate) async fn put(&self, document: Document) -> Result<(), WireError> {
        let mut state = self.state.lock().await;
        if state.is_told {
            let in_force = state.document.generation;
            match document.generation.order(in_force, *state.document == document) {
                Order::Newer => {}
                Order::Same => return Ok(()),
                Order::Older => return Err(stale(in_force)),
                Order::Different => return Err(conflict(in_force)),
            }
        }
        let checker = self.refuse_problems(Checker::of(&document), &document, None)?;
        state.before = None;
        self.bring(&mut state, Arc::new(document), None).await?;
        state.checker = Some(checker);
        Ok(())
    }

    /// Changes the document in force.
    ///
    /// # Errors
    /// As [`Router::put`], and when the change begins at another generation than the one in force.
    pub(crate) async fn patch(&self, delta: Delta) -> Result<(), WireError> {
        let mut state = self.state.lock().await;
        let in_force = state.document.generation;
        if state.is_told && in_force == delta.to && delta.from < delta.to {
            // The same change again, as its answer was lost; or another one of the same number.
            return if delta.is_in(&state.document) { Ok(()) } else { Err(conflict(in_force)) };
        }
        let document = match Before::next(state.before.take(), &state.document, &delta) {
            Ok(document) if state.is_told => document,
            Ok(_) | Err(DeltaError::Elsewhere { .. }) => return Err(stale(in_force)),
            Err(DeltaError::Backwards) => {
                return Err(WireError::new(ErrorCode::Invalid, "to: must be greater than from"));
            }
        };
        let (before, delta) = (Arc::clone(&state.document), Arc::new(delta));
        let mut checker = match state.checker.take() {
            Some(checker) => checker,
            None => Checker::of(&before).map_err(|problems| invalid(&problems))?,
        };
        let followed = checker.follow(&delta, &before, &document);
        let has_followed = followed.is_ok();
        let brought = match self.refuse_problems(followed, &document, Some(&delta)) {
            Ok(()) => self.bring(&mut state, Arc::clone(&document), Some(Arc::clone(&delta))).await,
            Err(error) => Err(error),
        };
        // It is made anew if it cannot go back.
        let stays = brought.is_ok() || !has_followed || checker.follow(&delta, &document, &before).is_ok();
        state.checker = stays.then_some(checker);
        brought?;
        state.before = Some(Before { document: before, delta });
        Ok(())
    }

    /// Refuses a document with problems: those between its parts, those with the side to the management network, and those
    /// with what the image has. A change that keeps its sides cannot bring one of the second kind.
    fn refuse_problems<T>(
        &self,
        checked: Result<T, Vec<Problem>>,
        document: &Document,
        delta: Option<&Delta>,
    ) -> Result<T, WireError> {
        let mut others = Vec::new();
        if delta.is_none_or(|delta| !delta.keeps_sides()) {
            others.extend(document.problems_beside(&self.management));
        }
        others.extend(self.problem_of_extensions(document));
        match checked {
            Ok(checked) if others.is_empty() => Ok(checked),
            Ok(_) => Err(invalid(&others)),
            Err(problems) => Err(invalid(&[problems, others].concat())),
        }
    }
}

/// The refusal of a document that breaks rules.
fn invalid(problems: &[Problem]) -> WireError {
    WireError::new(ErrorCode::Invalid, told(problems))
}

/// The first problems of a document, in one line.
fn told(problems: &[Problem]) -> String {
    let told: Vec<String> = problems.iter().take(TOLD).map(ToString::to_string).collect();
    let more = problems.len().saturating_sub(TOLD);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    told.join("; ") + &more
}

fn stale(in_force: Generation) -> WireError {
    let error = WireError::new(ErrorCode::StaleGeneration, format!("generation {in_force} is in force"));
    WireError { in_force: Some(in_force), ..error }
}

fn conflict(in_force: Generation) -> WireError {
    let message = format!("another document of generation {in_force} is in force");
    WireError::new(ErrorCode::GenerationConflict, message)
}
