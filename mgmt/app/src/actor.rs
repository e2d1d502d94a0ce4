//! Who asks, and what that lets them see.

use podzol_mgmt_api::account::Role;
use podzol_vocab::{AccountId, KeyId, Name, UserId};

use crate::AppError;

/// An authenticated user.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The key that it has shown.
    pub key: KeyId,
    /// The user.
    pub user: UserId,
    /// Its name.
    pub name: Name,
    /// Its account.
    pub account: AccountId,
    /// What it may do.
    pub role: Role,
    /// How many requests a second its account may send, if its quotas say so.
    pub requests_per_second: Option<std::num::NonZeroU32>,
}

impl Actor {
    /// Whether it may do everything, in all accounts.
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// Lets admins pass.
    ///
    /// # Errors
    /// [`AppError::Forbidden`] for anybody else.
    pub fn must_be_admin(&self) -> Result<(), AppError> {
        if self.is_admin() { Ok(()) } else { Err(AppError::Forbidden("only admins may do this".into())) }
    }

    /// Whether it may see things of that account.
    pub(crate) fn sees(&self, account: AccountId) -> bool {
        self.is_admin() || self.account == account
    }

    /// The account that a list is narrowed to: its own for a customer, the one asked for by an admin.
    pub(crate) fn scope(&self, asked: Option<AccountId>) -> Option<AccountId> {
        if self.is_admin() { asked } else { Some(self.account) }
    }

    /// The account that a new thing belongs to.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when a customer names another account than its own.
    pub(crate) fn account_for(&self, asked: Option<AccountId>) -> Result<AccountId, AppError> {
        match asked {
            Some(asked) if !self.sees(asked) => Err(AppError::NotFound("account")),
            asked => Ok(asked.unwrap_or(self.account)),
        }
    }

    /// The text in events.
    pub(crate) fn label(&self) -> String {
        format!("user {}", self.name)
    }
}
