//! Bringing a template into the pools.

use std::time::Duration;

use futures_util::future::join_all;
use podzol_mgmt_api::template::{TemplateFormat, TemplateState};
use podzol_mgmt_db::{JsonCol, Tx, find, operation, pool, template};
use podzol_mgmt_operations::Outcome;
use podzol_storage_api::{
    SignedManifest, TemplateFormat as InPool, TemplatePlan, TemplatePut, TemplateSource, TemplateStatus,
};
use podzol_vocab::{Secret, TemplateId};

use crate::operation::NewOperation;
use crate::template::import;
use crate::{App, AppError};

/// How long a storage agent may keep the call open. Short, so that progress is shown.
const WAIT: Duration = Duration::from_millis(1000);

const CALL: Duration = Duration::from_secs(20);

impl App {
    pub(super) async fn template_attempt(&self, operation: &operation::Model) -> Result<Outcome, AppError> {
        let Some(row) = self.template_of(operation).await? else {
            return Ok(Outcome::Overtaken { detail: "the template was deleted".into() });
        };
        let pools = pool::ready(self.db.reader(), None).await?;
        if pools.is_empty() {
            let detail = "there is no pool yet to bring it into".into();
            return Ok(Outcome::Again {
                code: "no_pool".into(),
                detail,
                after: Some(Duration::from_secs(2)),
            });
        }
        // A pool that does not answer does not keep the template from the others, nor does one that refuses it: the operation
        // has failed only when no other is importing it.
        let called = join_all(pools.iter().map(|pool| self.call_template(&row, pool))).await;
        let (mut at_it, mut worst) = (None, Outcome::Done);
        for (pool, called) in pools.iter().zip(called) {
            let outcome = match called? {
                Ok(TemplateStatus::Ready { size, virtual_size }) => {
                    self.is_ready_in_a_pool(&row, size.0 as i64, virtual_size.0 as i64).await?;
                    continue;
                }
                Ok(status @ TemplateStatus::Importing { .. }) => {
                    at_it = Some(self.not_ready(operation, pool, status).await?);
                    continue;
                }
                Ok(status) => unfinished(pool, status),
                Err(outcome) => outcome,
            };
            if worst == Outcome::Done || matches!(outcome, Outcome::Failed { .. }) {
                worst = outcome;
            }
        }
        Ok(at_it.unwrap_or(worst))
    }

    async fn not_ready(
        &self,
        operation: &operation::Model,
        pool: &pool::Model,
        status: TemplateStatus,
    ) -> Result<Outcome, AppError> {
        if let TemplateStatus::Importing { done, total } = &status {
            let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
            self.progress(operation, format!("pool {}: {done}{of}", pool.name.0)).await?;
        }
        Ok(unfinished(pool, status))
    }

    /// Brings a template into one pool, where a volume or a drive needs it. Something if that is not done yet or has
    /// failed.
    pub(super) async fn template_to_pool(
        &self,
        row: &template::Model,
        pool: &pool::Model,
    ) -> Result<Option<Outcome>, AppError> {
        Ok(match self.call_template(row, pool).await? {
            Ok(TemplateStatus::Ready { .. }) => None,
            Ok(status) => Some(unfinished(pool, status)),
            Err(outcome) => Some(outcome),
        })
    }

    async fn call_template(
        &self,
        row: &template::Model,
        pool: &pool::Model,
    ) -> Result<Result<TemplateStatus, Outcome>, AppError> {
        let source = match &row.url {
            Some(url) => TemplateSource::Url { url: Secret::new(url.clone()) },
            None => TemplateSource::Management { path: format!("/v1/templates/{}/data", row.sha256.0) },
        };
        let format = match row.format.0 {
            TemplateFormat::Qcow2 => InPool::Qcow2,
            TemplateFormat::Iso => InPool::Iso,
        };
        let signed = row
            .signed
            .clone()
            .map(|signed| SignedManifest { manifest: signed.0.manifest, signature: signed.0.signature });
        let plan = TemplatePlan { source, format, signed, wait_ms: WAIT.as_millis() as u64 };
        self.ask_storage::<TemplatePut>(pool, &(pool.id.0, row.sha256.0), &plan, CALL).await
    }

    async fn is_ready_in_a_pool(
        &self,
        row: &template::Model,
        size: i64,
        virtual_size: i64,
    ) -> Result<(), AppError> {
        let tx = self.db.begin().await?;
        let Some(mut row) = find::<template::Entity>(tx.reader(), row.id).await? else { return Ok(()) };
        let before = row.clone();
        row.state = JsonCol(TemplateState::Ready);
        row.size_bytes = Some(size);
        row.virtual_size_bytes = Some(virtual_size);
        row.error = None;
        if row != before {
            tx.template_update(row).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    pub(super) async fn template_gave_up(
        &self,
        tx: &Tx,
        operation: &operation::Model,
        detail: &str,
    ) -> Result<(), AppError> {
        let Some(id) = operation.subject.parse::<TemplateId>().ok() else { return Ok(()) };
        let Some(mut row) = find::<template::Entity>(tx.reader(), id).await? else { return Ok(()) };
        if row.state.0 == TemplateState::Importing {
            row.state = JsonCol(TemplateState::Failed);
            row.error = Some(detail.to_owned());
            tx.template_update(row).await?;
        }
        Ok(())
    }

    pub(super) async fn template_retried(
        &self,
        tx: &Tx,
        operation: &operation::Model,
    ) -> Result<NewOperation, AppError> {
        let gone = || AppError::Conflict { code: "goal_gone", detail: "the template is gone".into() };
        let id: TemplateId = operation.subject.parse().map_err(|_| gone())?;
        let mut row = find::<template::Entity>(tx.reader(), id).await?.ok_or_else(gone)?;
        if row.state.0 == TemplateState::Failed {
            row.state = JsonCol(TemplateState::Importing);
            row.error = None;
            tx.template_update(row.clone()).await?;
        }
        Ok(import(&row))
    }

    async fn template_of(&self, operation: &operation::Model) -> Result<Option<template::Model>, AppError> {
        let id: TemplateId = operation.subject.parse().map_err(|_| AppError::NotFound("template"))?;
        Ok(find::<template::Entity>(self.db.reader(), id).await?)
    }
}

fn unfinished(pool: &pool::Model, status: TemplateStatus) -> Outcome {
    match status {
        TemplateStatus::Failed { transient: false, message } => {
            Outcome::failed("import_failed", format!("pool {}: {message}", pool.name.0))
        }
        TemplateStatus::Failed { message, .. } => {
            Outcome::again("import_failed", format!("pool {}: {message}", pool.name.0))
        }
        _ => Outcome::Again {
            code: "in_progress".into(),
            detail: format!("pool {} is importing the template", pool.name.0),
            after: Some(Duration::from_millis(200)),
        },
    }
}
