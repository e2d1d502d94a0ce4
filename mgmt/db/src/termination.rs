//! The certificates and private keys of balancers of HTTP: apart from the balancers, so that who lists those reads no key.

use podzol_vocab::Secret;
use sea_orm::QueryFilter;
use sea_orm::entity::prelude::*;

use crate::fetch::Fetch;
use crate::{DbError, JsonCol, Reader, Tx};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "terminations")]
pub struct Model {
    /// The balancer's.
    #[sea_orm(primary_key, auto_increment = false)]
    pub rule_id: String,
    pub certificates: String,
    pub private_key: JsonCol<Secret<String>>,
}

crate::no_relations!();

/// Those of some balancers.
///
/// # Errors
/// When the database cannot be read.
pub async fn of(db: &impl Reader, rules: impl IntoIterator<Item = String>) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().filter(Column::RuleId.is_in(rules)).fetch(db).await?)
}

impl Tx {
    /// Gives a balancer that is written a certificate and its key, in place of those that it has.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn termination_set(&self, row: Model) -> Result<(), DbError> {
        self.termination_delete(&row.rule_id).await?;
        self.insert::<Entity>(row)
    }

    /// Takes certificate and key from a balancer, if it has any.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn termination_delete(&self, rule: &str) -> Result<(), DbError> {
        self.terminations_delete([rule]).await
    }

    /// Takes certificates and keys from rules that have any.
    pub(crate) async fn terminations_delete(
        &self,
        rules: impl IntoIterator<Item = &str>,
    ) -> Result<(), DbError> {
        Entity::delete_many().filter(Column::RuleId.is_in(rules)).exec(self.reader()).await?;
        Ok(())
    }
}
