//! A JWT in its parts: three texts in strict base64url, two of them JSON objects that say nothing twice.
//!
//! Own code instead of a library's: libraries let the last of two equal claims win, take fractions and
//! texts for times, and offer more algorithms than anyone here wants.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use crdt_core::limits::TOKEN_BYTES_MAX;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::TokenError;

/// A token's parts; nothing is believed yet.
pub(crate) struct Jwt<'a> {
    pub(crate) header: Members,
    pub(crate) claims: Members,
    /// What the signature is over.
    pub(crate) signed: &'a [u8],
    pub(crate) signature: Vec<u8>,
}

impl<'a> Jwt<'a> {
    pub(crate) fn parse(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong { bytes: token.len() });
        }
        Self::parts(token).ok_or(TokenError::Malformed)
    }

    fn parts(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        // A further dot would be in the claims, where base64 has none.
        let (header, claims) = signed.split_once('.')?;
        let object = |text| serde_json::from_slice(&unbase64url(text)?).ok();
        Some(Self {
            header: object(header)?,
            claims: object(claims)?,
            signed: signed.as_bytes(),
            signature: unbase64url(signature)?,
        })
    }
}

/// The members of a JSON object, each named once.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Members(BTreeMap<String, Value>);

impl Members {
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A member that is a text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn into_map(self) -> Map<String, Value> {
        self.0.into_iter().collect()
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Members {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(members: T) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), Value::from(value));
        Self(members.into_iter().map(owned).collect())
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Once)
    }
}

struct Once;

impl<'de> Visitor<'de> for Once {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member is named twice"));
            }
        }
        Ok(Members(members))
    }
}

/// base64url without padding.
pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of a base64url text; nothing when it has padding, other digits or bits left over.
pub(crate) fn unbase64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
