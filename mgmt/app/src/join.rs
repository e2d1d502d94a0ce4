//! Servers that join, and who is believed afterwards.

use podzol_mgmt_api::host::ServerState;
use podzol_mgmt_db::event::NewEvent;
use podzol_mgmt_db::{now, server};
use podzol_rpc::join::{JoinAnswer, JoinRequest, JoinToken};
use podzol_rpc::{Caller, PeerId};
use podzol_vocab::{ErrorCode, Sha256, WireError};
use sha2::Digest;
use subtle::ConstantTimeEq;

use crate::server::row_of;
use crate::{App, AppError, Authority};

/// What is kept of a token's secret.
pub(crate) fn token_hash(secret: &[u8; 32]) -> Sha256 {
    Sha256::from_bytes(sha2::Sha256::digest(secret).into())
}

/// What a token is good for.
enum Good {
    /// A certificate.
    New(Box<server::Model>),
    /// The certificate (PEM) that it was used for: whoever asks has the key of it, and may not have got the answer.
    Again(String),
}

/// Looks at a token, or says why it is not accepted.
fn look_at(
    row: Option<server::Model>,
    token: &JoinToken,
    certificate_request: &str,
    at: i64,
) -> Result<Good, &'static str> {
    let row = row.filter(|row| row.state.0 != ServerState::Removed).ok_or("there is no such server")?;
    let hash = row.token_hash.ok_or("the token was used before")?;
    let shown = token_hash(token.secret.expose()).to_string();
    if !bool::from(shown.as_bytes().ct_eq(hash.to_string().as_bytes())) {
        return Err("the token's secret is wrong");
    }
    if row.token_expires_at <= at {
        return Err("the token has expired");
    }
    match &row.certificate_pem {
        None => Ok(Good::New(Box::new(row))),
        Some(pem) if Authority::is_for(pem, certificate_request) => Ok(Good::Again(pem.clone())),
        Some(_) => Err("the token was used before"),
    }
}

impl App {
    /// Gives a server a certificate for a token, once. Whoever asks again with the same key gets the same again, as its
    /// first answer may have been lost.
    ///
    /// # Errors
    /// When the token is wrong, used or expired. The caller is told no more than that; the event says which.
    pub async fn join(&self, caller: &Caller, request: &JoinRequest) -> Result<JoinAnswer, WireError> {
        let refused =
            || WireError::new(ErrorCode::Refused, "the join token is not valid, used already, or expired");
        let Ok(token) = request.token.expose().parse::<JoinToken>() else {
            self.notice_refusal("join.refused", caller.address, "", "the token cannot be read").await;
            return Err(refused());
        };
        match self.try_join(caller, &token, &request.certificate_request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(reason)) => {
                self.notice_refusal("join.refused", caller.address, id_of(token.peer), reason).await;
                Err(refused())
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot let a server join");
                Err(WireError::new(ErrorCode::Internal, "cannot let the server join now"))
            }
        }
    }

    async fn try_join(
        &self,
        caller: &Caller,
        token: &JoinToken,
        certificate_request: &str,
    ) -> Result<Result<JoinAnswer, &'static str>, AppError> {
        // Looked at twice, so that a wrong token never waits for its turn to write.
        let row = row_of(self.db.reader(), token.peer).await?;
        if let Err(reason) = look_at(row, token, certificate_request, now().0) {
            return Ok(Err(reason));
        }
        let tx = self.db.begin().await?;
        let row = row_of(tx.reader(), token.peer).await?;
        let answer =
            |certificate_pem| JoinAnswer { certificate_pem, ca_pem: self.authority.ca_pem().to_owned() };
        let mut row = match look_at(row, token, certificate_request, now().0) {
            Ok(Good::New(row)) => *row,
            Ok(Good::Again(certificate_pem)) => return Ok(Ok(answer(certificate_pem))),
            Err(reason) => return Ok(Err(reason)),
        };
        let Ok((certificate_pem, fingerprint)) = self.authority.sign(token.peer, certificate_request) else {
            return Ok(Err("the certificate request is not valid"));
        };
        row.certificate = Some(fingerprint.into());
        row.certificate_pem = Some(certificate_pem.clone());
        tx.event_create(NewEvent {
            action: "server.joined",
            actor: from(caller),
            account: None,
            subject_kind: if row.is_host { "host" } else { "storage-server" },
            subject: row.id.clone(),
            detail: row.name.to_string(),
        })
        .await?;
        tx.server_update(row).await?;
        tx.commit().await?;
        Ok(Ok(answer(certificate_pem)))
    }

    /// Checks that a caller is that peer, with the one certificate that is believed.
    ///
    /// # Errors
    /// When it is not; this is recorded.
    pub async fn believe(&self, caller: &Caller, peer: PeerId) -> Result<server::Model, WireError> {
        let refused = |reason: &'static str| async move {
            self.notice_refusal("peer.refused", caller.address, id_of(peer), reason).await;
            Err(WireError::new(ErrorCode::Refused, reason))
        };
        let Some(certificate) = &caller.certificate else { return refused("a certificate is needed").await };
        if certificate.peer != peer {
            return refused("the certificate is another server's").await;
        }
        let row = row_of(self.db.reader(), peer).await.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot look up a peer");
            WireError::new(ErrorCode::Unavailable, "cannot look up the caller now")
        })?;
        match row {
            Some(row) if row.certificate.is_some_and(|known| known.0 == certificate.fingerprint) => Ok(row),
            _ => refused("the certificate was revoked").await,
        }
    }

    /// Records a connection that was refused before anything was asked.
    pub async fn connection_refused(&self, address: std::net::SocketAddr, reason: &str) {
        self.notice_refusal("peer.refused", address, "", reason).await;
    }
}

fn from(caller: &Caller) -> String {
    format!("peer {}", caller.address)
}

fn id_of(peer: PeerId) -> String {
    match peer {
        PeerId::Management => String::new(),
        PeerId::Host(id) => id.to_string(),
        PeerId::StorageServer(id) => id.to_string(),
        PeerId::Router(id) | PeerId::ConsoleProxy(id) => id.to_string(),
    }
}
