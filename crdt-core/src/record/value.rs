//! The value of one field, as the app reads and writes it and as an operation carries it.

use std::fmt;
use std::str::FromStr;

use crate::time::Timestamp;

/// One field's value. Sets and prose have operations of their own and appear here only when read.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Unset.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number; never NaN or infinite in a record.
    Float(f64),
    /// Text that is replaced as a whole; also dates, money, enums.
    Str(String),
    /// A point in time.
    Timestamp(Timestamp),
    /// Bytes: references are 16 of them.
    Bytes(Vec<u8>),
    /// A counter's total.
    Counter(i64),
    /// Collaborative prose.
    Text(String),
    /// A set's members, in order.
    Set(Vec<String>),
}

impl Value {
    /// A word for the kind of value, for messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "string",
            Self::Timestamp(_) => "timestamp",
            Self::Bytes(_) => "bytes",
            Self::Counter(_) => "counter",
            Self::Text(_) => "text",
            Self::Set(_) => "set",
        }
    }

    /// Whether the field is unset.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The text of a string or prose value.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(s) | Self::Text(s) => Some(s),
            _ => None,
        }
    }

    /// The number of an int or a counter.
    #[must_use]
    pub const fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(i) | Self::Counter(i) => Some(*i),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Self {
        Self::Timestamp(time)
    }
}

impl From<crate::id::RecordId> for Value {
    fn from(record: crate::id::RecordId) -> Self {
        Self::Bytes(record.as_bytes().to_vec())
    }
}

impl From<crate::id::MemberId> for Value {
    fn from(member: crate::id::MemberId) -> Self {
        Self::Bytes(member.as_bytes().to_vec())
    }
}

impl From<Money> for Value {
    fn from(money: Money) -> Self {
        Self::Str(money.to_string())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// An amount and its currency: one value, so that they change together. Its one spelling is
/// `1250.00 USD`: as many decimals as the currency has, no leading zeros, ISO 4217 letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    minor: i64,
    currency: [u8; 3],
}

/// Text is not money in its one spelling.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not an amount, one space and three capital letters.
    #[error("money is spelt like `1250.00 USD`")]
    Shape,
    /// The number of decimals is not the currency's.
    #[error("{currency} has {expected} decimals")]
    Decimals {
        /// The currency's letters.
        currency: String,
        /// How many decimals it has.
        expected: u32,
    },
    /// More than 64 bits of minor units.
    #[error("the amount is too large")]
    TooLarge,
}

impl Money {
    /// From minor units (cents) and a currency's three letters.
    ///
    /// # Errors
    /// When `currency` is not three capital letters.
    pub fn from_minor(minor: i64, currency: &str) -> Result<Self, MoneyError> {
        match currency.as_bytes() {
            [a, b, c] if [a, b, c].iter().all(|x| x.is_ascii_uppercase()) => {
                Ok(Self { minor, currency: [*a, *b, *c] })
            }
            _ => Err(MoneyError::Shape),
        }
    }

    /// The amount in minor units (cents).
    #[must_use]
    pub const fn minor(&self) -> i64 {
        self.minor
    }

    /// The currency's three letters.
    #[must_use]
    pub fn currency(&self) -> &str {
        std::str::from_utf8(&self.currency).expect("only capital letters are taken")
    }

    /// How many decimals ISO 4217 gives a currency; two unless listed.
    #[must_use]
    pub fn decimals_of(currency: &str) -> u32 {
        match currency {
            "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF"
            | "UGX" | "UYI" | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 0,
            "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
            "CLF" | "UYW" => 4,
            _ => 2,
        }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = Self::decimals_of(self.currency());
        let unit = 10_u64.pow(decimals);
        let sign = if self.minor < 0 { "-" } else { "" };
        let minor = self.minor.unsigned_abs();
        match decimals {
            0 => write!(f, "{sign}{minor} {}", self.currency()),
            _ => write!(
                f,
                "{sign}{}.{:0width$} {}",
                minor / unit,
                minor % unit,
                self.currency(),
                width = decimals as usize
            ),
        }
    }
}

impl FromStr for Money {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let (amount, currency) = text.split_once(' ').ok_or(MoneyError::Shape)?;
        let template = Self::from_minor(0, currency)?;
        let decimals = Self::decimals_of(currency);
        let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
        if fraction.len() != decimals as usize {
            return Err(MoneyError::Decimals { currency: currency.to_owned(), expected: decimals });
        }
        if whole.len() > 20 {
            return Err(MoneyError::TooLarge);
        }
        let digits = format!("{whole}{fraction}");
        let minor = digits.parse::<i64>().map_err(|_| {
            let unsigned = digits.strip_prefix('-').unwrap_or(&digits);
            if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
                MoneyError::TooLarge
            } else {
                MoneyError::Shape
            }
        })?;
        let money = Self { minor, ..template };
        if money.to_string() == text { Ok(money) } else { Err(MoneyError::Shape) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_has_one_spelling() {
        for good in ["1250.00 USD", "0.05 EUR", "-3.10 CHF", "1000 JPY", "1.500 KWD"] {
            assert_eq!(good.parse::<Money>().unwrap().to_string(), good);
        }
        for bad in [
            "1250 USD",
            "01.00 USD",
            "+1.00 USD",
            "1.0 USD",
            "1.00 usd",
            "1.00USD",
            "",
            "-0.00 USD",
            "1.00  USD",
            " 1.00 USD",
            "1.00 USD ",
            "9999999999999999999.00 USD",
            ".50 USD",
        ] {
            assert!(bad.parse::<Money>().is_err(), "{bad}");
        }
    }
}
