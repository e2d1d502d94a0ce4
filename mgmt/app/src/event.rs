//! Events.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use podzol_mgmt_api::event::{Event, EventFilter};
use podzol_mgmt_api::{Page, PageQuery};
use podzol_mgmt_db::event::NewEvent;
use podzol_mgmt_db::{Tx, event};
use podzol_rpc::refusals::{self, Refusal};
use podzol_vocab::AccountId;
use tokio::time::Instant;

use crate::{Actor, App, AppError, view};

/// How often the same refusal is recorded at most.
const RECORDED_EVERY: Duration = Duration::from_secs(60);

/// How many refusals are remembered, and so recorded at most in that time.
const REMEMBERED: usize = 256;

/// The most that a server can have refused somebody between two reports.
const MOST_TIMES: u64 = 100_000;

/// When what was refused was last recorded, by what it was.
pub(crate) type Recorded = Mutex<HashMap<String, Instant>>;

/// Whether a refusal was not recorded just now. What is too much to remember is no news.
fn is_news(recorded: &Recorded, refusal: String) -> bool {
    let mut recorded = recorded.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    recorded.retain(|_, at| now.duration_since(*at) < RECORDED_EVERY);
    let news = !recorded.contains_key(&refusal) && recorded.len() < REMEMBERED;
    if news {
        recorded.insert(refusal, now);
    }
    news
}

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

    /// Records that somebody who is not known was refused: once in a while for each who and why, so that nobody fills the
    /// database by knocking.
    pub(crate) async fn notice_refusal(
        &self,
        action: &'static str,
        address: std::net::SocketAddr,
        subject: impl ToString,
        reason: &str,
    ) {
        let subject = subject.to_string();
        self.metrics.refusals.with_label_values(&[action]).inc();
        if is_news(&self.here.refusals, format!("{action} {} {subject} {reason}", address.ip())) {
            self.notice(action, &format!("peer {address}"), "server", subject, reason).await;
        }
    }

    /// Records whom a server of ours has refused, in the same way. Knocking at servers fills no place for what is refused
    /// here, and a server that lies gets in no more than one that does not.
    pub(crate) async fn notice_refusals_of(&self, server: impl ToString, refusals: Vec<Refusal>) {
        let server = server.to_string();
        for Refusal { address, reason, times } in refusals.into_iter().take(refusals::MOST) {
            let reason: String = reason.chars().take(refusals::LONGEST).collect();
            self.metrics.refusals.with_label_values(&["peer.refused"]).inc_by(times.min(MOST_TIMES));
            if is_news(&self.here.told_refusals, format!("{address} at {server} {reason}")) {
                let detail = format!("the server's agent refused it {times} times: {reason}");
                self.notice("peer.refused", &format!("peer {address}"), "server", &server, detail).await;
            }
        }
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
