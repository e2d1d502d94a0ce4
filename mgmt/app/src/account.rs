//! Accounts, users and API keys.

use std::num::NonZeroU32;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use podzol_mgmt_api::account::{
    Account, AccountCreate, AccountFilter, AccountUpdate, Key, KeyCreate, KeyCreated, Role, User, UserCreate,
};
use podzol_mgmt_api::{Page, PageQuery};
use podzol_mgmt_db::{Tx, account, find, now, vm};
use podzol_vocab::{AccountId, KeyId, Name, Secret, UserId};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::Meaning;
use crate::once::{Once, Secretive};
use crate::{Actor, App, AppError, limits, quota, view};

impl Secretive for Account {}
impl Secretive for User {}
impl Secretive for KeyCreated {
    fn forget_secret(&mut self) {
        self.secret = Secret::new(String::new());
    }
}

/// The text of a key: `podzol.<id>.<secret>`.
fn key_text(id: KeyId, secret: &[u8; 32]) -> Secret<String> {
    Secret::new(format!("podzol.{id}.{}", BASE64_URL_SAFE_NO_PAD.encode(secret)))
}

fn parse_key(text: &str) -> Option<(KeyId, Vec<u8>)> {
    let (id, secret) = text.strip_prefix("podzol.")?.split_once('.')?;
    Some((id.parse().ok()?, BASE64_URL_SAFE_NO_PAD.decode(secret).ok()?))
}

impl App {
    /// Makes the account `system` with an admin, if there is no user yet. `keep` writes the admin's key down, before it
    /// is valid: so a crash at any point leaves a key that somebody has, or no admin yet.
    ///
    /// # Errors
    /// When the database refuses, or the key cannot be kept.
    pub async fn bootstrap(
        &self,
        keep: impl FnOnce(&Secret<String>) -> std::io::Result<()>,
    ) -> Result<(), AppError> {
        if account::any_user(self.db.reader()).await? {
            return Ok(());
        }
        let name = |text: &str| text.parse::<Name>().map_err(|error| AppError::Internal(error.to_string()));
        let tx = self.db.begin().await?;
        let account = account::Model {
            id: AccountId::new().into(),
            name: name("system")?.into(),
            limits: None,
            quotas: None,
            created_at: now().0,
        };
        let user = account::user::Model {
            id: UserId::new().into(),
            account_id: account.id,
            name: name("admin")?.into(),
            is_admin: true,
            created_at: now().0,
        };
        tx.account_create(account).await?;
        tx.user_create(user.clone()).await?;
        let (_, admin_key) = new_key(&tx, &user, name("first")?).await?;
        keep(&admin_key)
            .map_err(|error| AppError::Internal(format!("cannot keep the admin's key: {error}")))?;
        Ok(tx.commit().await?)
    }

    /// Who a key belongs to.
    ///
    /// # Errors
    /// [`AppError::Unauthenticated`] when it is not a valid key.
    pub async fn authenticate(&self, key: &str) -> Result<Actor, AppError> {
        let (id, secret) = parse_key(key).ok_or(AppError::Unauthenticated)?;
        let found = account::key_with_user(self.db.reader(), id).await?;
        let (key, user) = found.ok_or(AppError::Unauthenticated)?;
        let hash = Sha256::digest(&secret);
        if !bool::from(hash.as_slice().ct_eq(&key.hash)) {
            return Err(AppError::Unauthenticated);
        }
        let role = user.role();
        let account = find::<account::Entity>(self.db.reader(), user.account_id).await?;
        let quotas = account.and_then(|account| account.quotas).map(|quotas| quotas.0).unwrap_or_default();
        Ok(Actor {
            key: id,
            user: user.id.0,
            name: user.name.0,
            account: user.account_id.0,
            role,
            requests_per_second: quotas.api_requests_per_second.and_then(NonZeroU32::new),
        })
    }

    /// Counts a request of an authenticated user.
    ///
    /// # Errors
    /// [`AppError::TooMany`] when its account has sent too many.
    pub fn count_request(&self, actor: &Actor) -> Result<(), AppError> {
        if actor.is_admin() {
            return Ok(());
        }
        let rate = actor.requests_per_second.unwrap_or(self.settings.api_requests_per_second);
        self.rates.count(actor.account, rate).map_err(|wait| AppError::TooMany { wait })
    }

    /// Whether a key is still valid, and its user is what it was.
    pub(crate) async fn is_still(&self, actor: &Actor) -> Result<bool, AppError> {
        let found = account::key_with_user(self.db.reader(), actor.key).await?;
        Ok(found.is_some_and(|(_, user)| user.role() == actor.role && user.account_id.0 == actor.account))
    }

    /// Creates an account.
    ///
    /// # Errors
    /// When the caller is no admin, or the name is taken.
    pub async fn account_create(
        &self,
        actor: &Actor,
        once: Option<Once>,
        body: AccountCreate,
    ) -> Result<Account, AppError> {
        actor.must_be_admin()?;
        self.create(actor, once, async |tx| {
            let row = account::Model {
                id: AccountId::new().into(),
                name: body.name.clone().into(),
                limits: None,
                quotas: None,
                created_at: now().0,
            };
            tx.account_create(row.clone()).await.or_taken(|| AppError::taken("account", &body.name))?;
            self.record(tx, actor, "account.create", Some(row.id.0), "account", row.id.0, &body.name).await?;
            Ok(view::account(row))
        })
        .await
    }

    /// The accounts that the caller may see.
    ///
    /// # Errors
    /// When the query is not valid.
    pub async fn account_list(&self, actor: &Actor, query: &PageQuery) -> Result<Page<Account>, AppError> {
        let page = view::page_of(query)?;
        let rows = account::list(self.db.reader(), actor.scope(None), &page).await?;
        Ok(view::page(&page, rows.into_iter().map(view::account).collect(), |account| account.id.to_string()))
    }

    /// An account.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none that the caller may see.
    pub async fn account_show(&self, actor: &Actor, id: AccountId) -> Result<Account, AppError> {
        let row = find::<account::Entity>(self.db.reader(), id).await?.filter(|row| actor.sees(row.id.0));
        let row = row.ok_or(AppError::NotFound("account"))?;
        let in_use = account::in_use(self.db.reader(), id).await?;
        Ok(Account { in_use: Some(in_use), ..view::account(row) })
    }

    /// Changes the limits of an account's VMs, and the most that it may have.
    ///
    /// # Errors
    /// When the caller is no admin, or a number is out of its range.
    pub async fn account_update(
        &self,
        actor: &Actor,
        id: AccountId,
        body: AccountUpdate,
    ) -> Result<Account, AppError> {
        actor.must_be_admin()?;
        body.limits.as_ref().map_or(Ok(()), limits::check)?;
        body.quotas.as_ref().map_or(Ok(()), quota::check_quotas)?;
        let tx = self.db.begin().await?;
        let found = find::<account::Entity>(tx.reader(), id).await?;
        let mut row = found.ok_or(AppError::NotFound("account"))?;
        if let Some(limits) = body.limits {
            row.limits = Some(limits.into());
            tx.vm_limits_changed(vm::LimitsOf::Account(id)).await?;
        }
        row.quotas = body.quotas.map(Into::into).or(row.quotas);
        tx.account_update(row.clone()).await?;
        self.record(&tx, actor, "account.update", Some(id), "account", id, &row.name.0).await?;
        tx.commit().await?;
        self.account_show(actor, id).await
    }

    /// Deletes an account without any users or things of its own.
    ///
    /// # Errors
    /// When something belongs to it.
    pub async fn account_delete(&self, actor: &Actor, id: AccountId) -> Result<(), AppError> {
        actor.must_be_admin()?;
        let account = self.account_show(actor, id).await?;
        let tx = self.db.begin().await?;
        tx.account_delete(id)
            .await
            .or_referred(|| AppError::in_use("users, networks or VMs still belong to it"))?;
        self.record(&tx, actor, "account.delete", Some(id), "account", id, &account.name).await?;
        Ok(tx.commit().await?)
    }

    /// Creates a user.
    ///
    /// # Errors
    /// When the name is taken, or a customer asks for an admin.
    pub async fn user_create(
        &self,
        actor: &Actor,
        once: Option<Once>,
        body: UserCreate,
    ) -> Result<User, AppError> {
        let account = actor.account_for(body.account)?;
        if body.role == Role::Admin {
            actor.must_be_admin()?;
        }
        self.create(actor, once, async |tx| {
            find::<account::Entity>(tx.reader(), account).await?.ok_or(AppError::NotFound("account"))?;
            let row = account::user::Model {
                id: UserId::new().into(),
                account_id: account.into(),
                name: body.name.clone().into(),
                is_admin: body.role == Role::Admin,
                created_at: now().0,
            };
            tx.user_create(row.clone()).await.or_taken(|| AppError::taken("user", &body.name))?;
            self.record(tx, actor, "user.create", Some(account), "user", row.id.0, &body.name).await?;
            Ok(view::user(row))
        })
        .await
    }

    /// The users that the caller may see.
    ///
    /// # Errors
    /// When the query is not valid.
    pub async fn user_list(
        &self,
        actor: &Actor,
        filter: &AccountFilter,
        query: &PageQuery,
    ) -> Result<Page<User>, AppError> {
        let page = view::page_of(query)?;
        let rows = account::user_list(self.db.reader(), actor.scope(filter.account), &page).await?;
        Ok(view::page(&page, rows.into_iter().map(view::user).collect(), |user| user.id.to_string()))
    }

    /// A user.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none that the caller may see.
    pub async fn user_show(&self, actor: &Actor, id: UserId) -> Result<User, AppError> {
        Ok(view::user(self.user_row(actor, id).await?))
    }

    /// Deletes a user and its keys.
    ///
    /// # Errors
    /// When it is the caller itself.
    pub async fn user_delete(&self, actor: &Actor, id: UserId) -> Result<(), AppError> {
        let row = self.user_row(actor, id).await?;
        if id == actor.user {
            return Err(AppError::in_use("a user cannot delete itself"));
        }
        if row.is_admin {
            actor.must_be_admin()?;
        }
        let tx = self.db.begin().await?;
        tx.user_delete(&row).await?;
        self.record(&tx, actor, "user.delete", Some(row.account_id.0), "user", id, &row.name).await?;
        Ok(tx.commit().await?)
    }

    /// Creates an API key.
    ///
    /// # Errors
    /// When the name is taken, or there is no such user.
    pub async fn key_create(
        &self,
        actor: &Actor,
        once: Option<Once>,
        body: KeyCreate,
    ) -> Result<KeyCreated, AppError> {
        let user = self.user_row(actor, body.user.unwrap_or(actor.user)).await?;
        if user.is_admin {
            actor.must_be_admin()?;
        }
        self.create(actor, once, async |tx| {
            let (key, secret) = new_key(tx, &user, body.name.clone()).await?;
            self.record(tx, actor, "key.create", Some(key.account), "key", key.id, &body.name).await?;
            Ok(KeyCreated { key, secret })
        })
        .await
    }

    /// The keys that the caller may see, without their secrets.
    ///
    /// # Errors
    /// When the query is not valid.
    pub async fn key_list(
        &self,
        actor: &Actor,
        filter: &AccountFilter,
        query: &PageQuery,
    ) -> Result<Page<Key>, AppError> {
        let page = view::page_of(query)?;
        let rows = account::key_list(self.db.reader(), actor.scope(filter.account), &page).await?;
        Ok(view::page(&page, rows.into_iter().map(view::key).collect(), |key| key.id.to_string()))
    }

    /// A key, without its secret.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none that the caller may see.
    pub async fn key_show(&self, actor: &Actor, id: KeyId) -> Result<Key, AppError> {
        Ok(view::key(self.key_row(actor, id).await?))
    }

    /// Deletes a key: it is not valid from the next request on.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none that the caller may see.
    pub async fn key_delete(&self, actor: &Actor, id: KeyId) -> Result<(), AppError> {
        let row = self.key_row(actor, id).await?;
        let user = find::<account::user::Entity>(self.db.reader(), row.user_id).await?;
        if user.is_some_and(|user| user.is_admin) {
            actor.must_be_admin()?;
        }
        let tx = self.db.begin().await?;
        tx.key_delete(&row).await?;
        self.record(&tx, actor, "key.delete", Some(row.account_id.0), "key", id, &row.name).await?;
        Ok(tx.commit().await?)
    }

    async fn user_row(&self, actor: &Actor, id: UserId) -> Result<account::user::Model, AppError> {
        let row = find::<account::user::Entity>(self.db.reader(), id).await?;
        row.filter(|row| actor.sees(row.account_id.0)).ok_or(AppError::NotFound("user"))
    }

    async fn key_row(&self, actor: &Actor, id: KeyId) -> Result<account::key::Model, AppError> {
        let row = find::<account::key::Entity>(self.db.reader(), id).await?;
        row.filter(|row| actor.sees(row.account_id.0)).ok_or(AppError::NotFound("key"))
    }
}

async fn new_key(
    tx: &Tx,
    user: &account::user::Model,
    name: Name,
) -> Result<(Key, Secret<String>), AppError> {
    let secret: [u8; 32] = rand::random();
    let row = account::key::Model {
        id: KeyId::new().into(),
        account_id: user.account_id,
        user_id: user.id,
        name: name.clone().into(),
        hash: Sha256::digest(secret).to_vec(),
        created_at: now().0,
    };
    tx.key_create(row.clone()).await.or_taken(|| AppError::taken("key", &name))?;
    Ok((view::key(row.clone()), key_text(row.id.0, &secret)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text() {
        let id = KeyId::new();
        let text = key_text(id, &[5; 32]);
        assert_eq!(parse_key(text.expose()), Some((id, vec![5; 32])));
        for bad in ["", "podzol.", "podzol.x.y", "Bearer", &text.expose()[1..]] {
            assert_eq!(parse_key(bad), None, "{bad}");
        }
    }
}
