//! What a token says, read strictly and judged by its issuer's rules. Knows nothing of keys.

use crdt_core::id::{DeviceId, is_name};
use crdt_core::time::Timestamp;
use serde_json::Value;

use super::TokenError;
use super::jwt::Members;

/// Whether a token may be meant for others as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// `aud` is one text, this server's.
    Only,
    /// `aud` may also be a list of texts that holds this server's.
    Among,
}

/// The claim that says from when on a token is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// `nbf`.
    Nbf,
    /// `iat`, for issuers that write no `nbf`; one that is there all the same is kept to.
    Iat,
}

/// What an issuer's tokens have to keep to.
pub(crate) struct Rules<'a> {
    pub(crate) audience: &'a str,
    pub(crate) audience_rule: Audience,
    pub(crate) start: Start,
    pub(crate) leeway_ms: i64,
    pub(crate) lifetime_ms_max: i64,
}

/// A token's claims.
pub(crate) struct Claims<'a>(pub(crate) &'a Members);

impl<'a> Claims<'a> {
    pub(crate) fn issued_by(&self, name: &str) -> Result<(), TokenError> {
        if self.text("iss")? == name { Ok(()) } else { Err(TokenError::WrongIssuer) }
    }

    /// When the token ends, if it keeps to the rules.
    pub(crate) fn judge(&self, rules: &Rules<'_>, now: Timestamp) -> Result<Timestamp, TokenError> {
        self.judge_audience(rules)?;
        let expires = self.time("exp")?;
        let from = self.start(rules.start)?;
        if from.since(now) > rules.leeway_ms {
            return Err(TokenError::NotYetValid { from });
        }
        if now.since(expires) >= rules.leeway_ms {
            return Err(TokenError::Expired { at: expires });
        }
        if expires.since(from) > rules.lifetime_ms_max {
            return Err(TokenError::TooLongLived { until: expires });
        }
        Ok(expires)
    }

    fn judge_audience(&self, rules: &Rules<'_>) -> Result<(), TokenError> {
        let ill_typed = TokenError::IllTyped { claim: "aud" };
        let fits = match (self.value("aud")?, rules.audience_rule) {
            (Value::String(text), _) => text == rules.audience,
            (Value::Array(list), Audience::Among) => {
                let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
                texts.ok_or(ill_typed)?.contains(&rules.audience)
            }
            _ => return Err(ill_typed),
        };
        if fits { Ok(()) } else { Err(TokenError::WrongAudience) }
    }

    /// From when on the token is valid.
    fn start(&self, start: Start) -> Result<Timestamp, TokenError> {
        match start {
            Start::Nbf => self.time("nbf"),
            Start::Iat if self.0.has("nbf") => Ok(self.time("iat")?.max(self.time("nbf")?)),
            Start::Iat => self.time("iat"),
        }
    }

    /// The workspace in a claim, which is called `workspace` in messages whatever its name is.
    pub(crate) fn workspace(&self, claim: &str) -> Result<String, TokenError> {
        const CLAIM: &str = "workspace";
        let value = self.0.get(claim).ok_or(TokenError::Missing { claim: CLAIM })?;
        let name = value.as_str().filter(|text| is_name(text));
        name.map(str::to_owned).ok_or(TokenError::IllTyped { claim: CLAIM })
    }

    /// The device that the token was given to, if it was given to one.
    pub(crate) fn device(&self) -> Result<Option<DeviceId>, TokenError> {
        let Some(value) = self.0.get("device") else { return Ok(None) };
        let device = value.as_str().and_then(device_named);
        device.map(Some).ok_or(TokenError::IllTyped { claim: "device" })
    }

    /// A claim that is a text.
    pub(crate) fn text(&self, claim: &'static str) -> Result<&'a str, TokenError> {
        self.value(claim)?.as_str().ok_or(TokenError::IllTyped { claim })
    }

    /// A time in whole seconds since 1970.
    fn time(&self, claim: &'static str) -> Result<Timestamp, TokenError> {
        let seconds = self.value(claim)?.as_i64().filter(|seconds| *seconds >= 0);
        seconds
            .and_then(|seconds| seconds.checked_mul(1_000))
            .map(Timestamp::from_millis)
            .ok_or(TokenError::IllTyped { claim })
    }

    fn value(&self, claim: &'static str) -> Result<&'a Value, TokenError> {
        self.0.get(claim).ok_or(TokenError::Missing { claim })
    }
}

/// The device that 32 hexadecimal digits in lower case name.
pub(crate) fn device_named(text: &str) -> Option<DeviceId> {
    let digits = text.as_bytes();
    if digits.len() != 32 || !digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(|number| DeviceId(number.to_be_bytes()))
}
