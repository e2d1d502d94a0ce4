//! The wildcard certificate that console proxies show to browsers.
//!
//! ```text
//!   none, or its end is near ─▶ the installation's own authority makes one ─▶ proxies are told, and show it to the next browser
//!   an operator brings one ─▶ looked at ─▶ takes its place, until it is taken away again
//! ```
//! One that an operator has brought is never replaced by itself, not even when it ends: whoever sees a certificate that has ended
//! knows what to do.

use podzol_mgmt_api::Timestamp;
use podzol_mgmt_api::console::{ConsoleCertificate, ConsoleCertificatePut};
use podzol_mgmt_db::console::certificate;
use podzol_mgmt_db::{JsonCol, find, now};
use podzol_vocab::DomainName;

use crate::certificate::{Brought, Fields, checked_wildcard, renewal_at};
use crate::{Actor, App, AppError, ConsoleSettings};

impl App {
    /// The certificate that console proxies show, made if there is none that holds for long enough.
    pub(super) async fn console_certificate(
        &self,
        settings: &ConsoleSettings,
    ) -> Result<certificate::Model, AppError> {
        let domain = settings.names.domain().to_string();
        let is_good = |row: &certificate::Model| {
            row.is_uploaded || now() < renewal_at(Timestamp(row.created_at), Timestamp(row.not_after))
        };
        if let Some(row) =
            find::<certificate::Entity>(self.db.reader(), domain.clone()).await?.filter(is_good)
        {
            return Ok(row);
        }
        let tx = self.db.begin().await?;
        if let Some(row) = find::<certificate::Entity>(tx.reader(), domain.clone()).await?.filter(is_good) {
            return Ok(row);
        }
        let row = self.own_certificate(settings.names.domain())?;
        tx.console_certificate_set(row.clone()).await?;
        tx.commit().await?;
        Ok(row)
    }

    fn own_certificate(&self, domain: &DomainName) -> Result<certificate::Model, AppError> {
        let made = self.authority.wildcard(domain, now());
        let made =
            made.map_err(|error| AppError::Internal(format!("the console domain's certificate: {error}")))?;
        Ok(certificate::Model {
            domain: domain.to_string(),
            certificates: made.certificates,
            private_key: JsonCol(made.key),
            is_uploaded: false,
            not_after: made.valid_until.0,
            created_at: now().0,
        })
    }

    /// The wildcard certificate, without its key.
    ///
    /// # Errors
    /// When the caller is no admin, or there is no console domain.
    pub async fn console_certificate_show(&self, actor: &Actor) -> Result<ConsoleCertificate, AppError> {
        actor.must_be_admin()?;
        Ok(shown(self.console_certificate(self.console_settings()?).await?))
    }

    /// Has console proxies show another certificate. Sessions that are open go on.
    ///
    /// # Errors
    /// When the caller is no admin, or the certificate is not for all names of the console domain, has ended, or has another key.
    pub async fn console_certificate_put(
        &self,
        actor: &Actor,
        body: ConsoleCertificatePut,
    ) -> Result<ConsoleCertificate, AppError> {
        actor.must_be_admin()?;
        let domain = self.console_settings()?.names.domain().clone();
        let brought = Brought { certificates: &body.certificates, key: &body.key, fields: FIELDS };
        let not_after = checked_wildcard(&brought, &domain, now())?.expires_at;
        let row = certificate::Model {
            domain: domain.to_string(),
            certificates: body.certificates,
            private_key: JsonCol(body.key),
            is_uploaded: true,
            not_after: not_after.0,
            created_at: now().0,
        };
        let tx = self.db.begin().await?;
        tx.console_certificate_set(row.clone()).await?;
        let detail = format!("until {not_after}");
        self.record(&tx, actor, "console-certificate.put", None, "console-certificate", &domain, &detail)
            .await?;
        tx.commit().await?;
        Ok(shown(row))
    }

    /// Has console proxies show a certificate of the installation's own authority again.
    ///
    /// # Errors
    /// When the caller is no admin, or there is no console domain.
    pub async fn console_certificate_delete(&self, actor: &Actor) -> Result<(), AppError> {
        actor.must_be_admin()?;
        let domain = self.console_settings()?.names.domain();
        let tx = self.db.begin().await?;
        tx.console_certificate_set(self.own_certificate(domain)?).await?;
        self.record(&tx, actor, "console-certificate.delete", None, "console-certificate", domain, "")
            .await?;
        Ok(tx.commit().await?)
    }
}

/// How the parts of a certificate are called where one is brought.
const FIELDS: Fields = Fields { certificates: "certificates", key: "key" };

fn shown(row: certificate::Model) -> ConsoleCertificate {
    ConsoleCertificate {
        domain: row.domain,
        certificates: row.certificates,
        uploaded: row.is_uploaded,
        not_after: Timestamp(row.not_after),
        created_at: Timestamp(row.created_at),
    }
}

#[cfg(test)]
mod tests {
    use podzol_mgmt_db::Db;

    use super::*;
    use crate::console::scan::tests::app_in;

    const DAY: i64 = 24 * 3600 * 1000;

    /// The certificate that there is after one whose time is this, in days from now, and what the doctor says of it.
    async fn after(from: i64, to: i64, is_uploaded: bool) -> (bool, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let app = app_in(folder.path(), Db::open(&folder.path().join("db")).await.unwrap());
        let settings = app.console_settings().unwrap();
        let made = app.console_certificate(settings).await.unwrap();
        let (created_at, not_after) = (now().0 + from * DAY, now().0 + to * DAY);
        let aged = certificate::Model { created_at, not_after, is_uploaded, ..made.clone() };
        let tx = app.db.begin().await.unwrap();
        tx.console_certificate_set(aged).await.unwrap();
        tx.commit().await.unwrap();
        let found = app.diagnose_consoles().await.unwrap();
        let next = app.console_certificate(settings).await.unwrap();
        (next.private_key.0 != made.private_key.0, found.into_iter().map(|one| one.code).collect())
    }

    #[tokio::test]
    async fn an_own_certificate_is_made_anew_before_it_ends_and_of_a_brought_one_the_doctor_tells() {
        assert_eq!(after(-10, 80, false).await, (false, vec![]));
        assert_eq!(after(-80, 10, false).await, (true, vec![]));
        assert_eq!(after(-10, 80, true).await, (false, vec![]));
        assert_eq!(after(-80, 2, true).await, (false, vec!["console_certificate_ends".into()]));
        assert_eq!(after(-80, -2, true).await, (false, vec!["console_certificate_ends".into()]));
    }
}
