//! Columns of the project's own types: as text, or as JSON.

use std::fmt::{self, Display};
use std::ops::Deref;
use std::str::FromStr;

use sea_orm::sea_query::{ArrayType, ColumnType, Nullable, StringLen, Value, ValueType, ValueTypeErr};
use sea_orm::{ColIdx, DbErr, QueryResult, TryFromU64, TryGetError, TryGetable};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value stored as its text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Col<T>(pub T);

/// A value stored as JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct JsonCol<T>(pub T);

fn unreadable(error: impl Display) -> TryGetError {
    TryGetError::DbErr(DbErr::Type(error.to_string()))
}

macro_rules! text_column {
    ($column:ident, [$($bound:tt)*], $to_text:expr, $from_text:expr) => {
        impl<T: $($bound)*> From<$column<T>> for Value {
            fn from(value: $column<T>) -> Value {
                let to_text: fn(&T) -> String = $to_text;
                to_text(&value.0).into()
            }
        }

        impl<T: $($bound)*> TryGetable for $column<T> {
            fn try_get_by<I: ColIdx>(row: &QueryResult, index: I) -> Result<Self, TryGetError> {
                let from_text: fn(&str) -> Result<T, String> = $from_text;
                from_text(&String::try_get_by(row, index)?).map(Self).map_err(unreadable)
            }
        }

        impl<T: $($bound)*> ValueType for $column<T> {
            fn try_from(value: Value) -> Result<Self, ValueTypeErr> {
                let from_text: fn(&str) -> Result<T, String> = $from_text;
                let text = <String as ValueType>::try_from(value)?;
                from_text(&text).map(Self).map_err(|_| ValueTypeErr)
            }

            fn type_name() -> String {
                "text".into()
            }

            fn array_type() -> ArrayType {
                ArrayType::String
            }

            fn column_type() -> ColumnType {
                ColumnType::String(StringLen::None)
            }
        }

        impl<T: $($bound)*> Nullable for $column<T> {
            fn null() -> Value {
                Value::String(None)
            }
        }

        impl<T> Deref for $column<T> {
            type Target = T;

            fn deref(&self) -> &T {
                &self.0
            }
        }

        impl<T: fmt::Debug> fmt::Debug for $column<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl<T> From<T> for $column<T> {
            fn from(value: T) -> Self {
                Self(value)
            }
        }
    };
}

text_column!(Col, [FromStr<Err: Display> + Display], |value| value.to_string(), |text| text
    .parse()
    .map_err(|error: T::Err| error.to_string()));

text_column!(
    JsonCol,
    [Serialize + DeserializeOwned],
    |value| serde_json::to_string(value).expect("the project's own types have a JSON form"),
    |text| serde_json::from_str(text).map_err(|error| error.to_string())
);

impl<T> TryFromU64 for Col<T> {
    fn try_from_u64(_: u64) -> Result<Self, DbErr> {
        Err(DbErr::Type("a text key is never made by the database".into()))
    }
}

impl<T: Display> Display for Col<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
