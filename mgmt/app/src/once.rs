//! Creating once, however often the request arrives.

use podzol_mgmt_db::{Tx, idempotency, now};
use podzol_vocab::Sha256;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Actor, App, AppError};

/// An `Idempotency-Key` with the digest of the request that it came with.
#[derive(Debug, Clone)]
pub struct Once {
    /// The key, as the client made it.
    pub key: String,
    /// SHA-256 of method, path and body.
    pub request: Sha256,
}

/// An answer that may hold a secret, which is shown once and not kept.
pub trait Secretive {
    /// Takes the secret out.
    fn forget_secret(&mut self) {}
}

impl App {
    /// Carries out a create in one transaction. A repeated key gets the answer of the first time.
    pub(crate) async fn create<T>(
        &self,
        actor: &Actor,
        once: Option<Once>,
        make: impl AsyncFnOnce(&Tx) -> Result<T, AppError>,
    ) -> Result<T, AppError>
    where
        T: Secretive + Serialize + DeserializeOwned,
    {
        let tx = self.db.begin().await?;
        if let Some(once) = &once
            && let Some(earlier) = idempotency::find(tx.reader(), actor.user, &once.key).await?
        {
            return repeated(once, &earlier);
        }
        let made = make(&tx).await?;
        if let Some(once) = once {
            let answer =
                serde_json::to_value(&made).map_err(|error| AppError::Internal(error.to_string()))?;
            let mut kept: T = from_value(answer)?;
            kept.forget_secret();
            let body = serde_json::to_string(&kept).map_err(|error| AppError::Internal(error.to_string()))?;
            tx.idempotency_create(idempotency::Model {
                user_id: actor.user.into(),
                key: once.key,
                request: once.request.into(),
                status: 200,
                body,
                created_at: now().0,
            })
            .await?;
        }
        tx.commit().await?;
        self.wake.notify_one();
        Ok(made)
    }
}

fn repeated<T: DeserializeOwned>(once: &Once, earlier: &idempotency::Model) -> Result<T, AppError> {
    if earlier.request.0 != once.request {
        return Err(AppError::Conflict {
            code: "idempotency_key_reused",
            detail: "this Idempotency-Key came with another request before".into(),
        });
    }
    serde_json::from_str(&earlier.body).map_err(|error| AppError::Internal(error.to_string()))
}

fn from_value<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, AppError> {
    serde_json::from_value(value).map_err(|error| AppError::Internal(error.to_string()))
}
