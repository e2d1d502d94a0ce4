//! Events.

use podzol_mgmt_api::event::{Event, EventFilter};
use podzol_mgmt_api::{Page, PageQuery};
use podzol_mgmt_db::event::NewEvent;
use podzol_mgmt_db::{Tx, event};
use podzol_vocab::AccountId;

use crate::{Actor, App, AppError, view};

impl App {
    /// The events that the caller may see, oldest first.
    ///
    /// # Errors
    /// When the query is not valid.
    pub async fn event_list(
        &self,
        actor: &Actor,
        filter: &EventFilter,
        query: &PageQuery,
    ) -> Result<Page<Event>, AppError> {
        let page = view::page_of(query)?;
        let rule = "must be the `next` of a page of events";
        let after = match &page.after {
            Some(after) => after.parse().map_err(|_| AppError::invalid("after", rule))?,
            None => 0,
        };
        let (subject, action) = (filter.subject.as_deref(), filter.action.as_deref());
        let rows =
            event::list(self.db.reader(), actor.scope(None), subject, action, after, page.limit).await?;
        Ok(view::page(&page, rows.into_iter().map(view::event).collect(), |event| event.id.to_string()))
    }

    /// Records what a user did, in the transaction that does it.
    #[allow(
        clippy::too_many_arguments,
        reason = "an event has that many parts, and each call names them once"
    )]
    pub(crate) async fn record(
        &self,
        tx: &Tx,
        actor: &Actor,
        action: &'static str,
        account: Option<AccountId>,
        subject_kind: &'static str,
        subject: impl ToString,
        detail: &(impl std::fmt::Display + ?Sized),
    ) -> Result<(), AppError> {
        let event = NewEvent {
            action,
            actor: actor.label(),
            account,
            subject_kind,
            subject: subject.to_string(),
            detail: detail.to_string(),
        };
        Ok(tx.event_create(event).await?)
    }

    /// Records something that a part of Podzol noticed, in a transaction of its own. A failure is logged only: the
    /// event is about something that has happened already.
    pub(crate) async fn notice(
        &self,
        action: &'static str,
        actor: &str,
        subject_kind: &'static str,
        subject: impl ToString,
        detail: impl Into<String>,
    ) {
        let (subject, detail) = (subject.to_string(), detail.into());
        tracing::warn!(action, subject_kind, subject, detail, "noticed");
        let event = NewEvent { action, actor: actor.into(), account: None, subject_kind, subject, detail };
        let recorded = async {
            let tx = self.db.begin().await?;
            tx.event_create(event).await?;
            tx.commit().await
        };
        if let Err(error) = recorded.await {
            tracing::error!(error = &error as &dyn std::error::Error, action, "cannot record an event");
        }
    }
}
