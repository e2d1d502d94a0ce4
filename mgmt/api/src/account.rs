//! Accounts, users and API keys.

use podzol_vocab::{AccountId, KeyId, Name, Secret, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Timestamp;
use crate::limits::{InUse, Limits, Quotas};

/// A customer.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Its name, unique in the installation.
    pub name: Name,
    /// Limits of each of its VMs, where the VM's offering has none.
    #[serde(default)]
    pub limits: Limits,
    /// The most that it may have.
    #[serde(default)]
    pub quotas: Quotas,
    /// What it has; only when one account is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_use: Option<InUse>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Changes an account. What is left out stays; what is given replaces all of what was.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountUpdate {
    /// Limits of each of its VMs; running VMs have them within seconds.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// The most that it may have. What it has already stays.
    #[serde(default)]
    pub quotas: Option<Quotas>,
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
