//! Accounts, users and API keys.

use podzol_vocab::{AccountId, KeyId, Name, Secret, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Timestamp;

/// A customer.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Its name, unique in the installation.
    pub name: Name,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Creates an account.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountCreate {
    /// Its name, unique in the installation.
    pub name: Name,
}

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything, in all accounts.
    Admin,
    /// Everything within the own account.
    Customer,
}

/// A person or program with credentials in an account.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Its name, unique in its account.
    pub name: Name,
    /// Its account.
    pub account: AccountId,
    /// What it may do.
    pub role: Role,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Creates a user.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserCreate {
    /// Its name, unique in its account.
    pub name: Name,
    /// Its account; the caller's own when left out. Only admins name another.
    #[serde(default)]
    pub account: Option<AccountId>,
    /// What it may do; only admins make admins.
    #[serde(default = "customer")]
    pub role: Role,
}

/// An API key of a user.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Key {
    /// Its id, which is also the first part of its text.
    pub id: KeyId,
    /// Its name, unique for its user.
    pub name: Name,
    /// Its user.
    pub user: UserId,
    /// Its account.
    pub account: AccountId,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Creates an API key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyCreate {
    /// Its name, unique for its user.
    pub name: Name,
    /// Its user; the caller when left out.
    #[serde(default)]
    pub user: Option<UserId>,
}

/// A new API key with its text.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct KeyCreated {
    /// The key.
    pub key: Key,
    /// Its text, to be sent as `Authorization: Bearer …`. It is shown only here.
    #[schema(value_type = String)]
    pub secret: Secret<String>,
}

/// Narrows a list to an account.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AccountFilter {
    /// Only those of this account; customers see only their own anyway.
    #[param(value_type = Option<String>)]
    pub account: Option<AccountId>,
}

fn customer() -> Role {
    Role::Customer
}
