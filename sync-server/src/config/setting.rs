//! Every key of the configuration: its spelling, its bounds, and where its value goes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crdt_core::id::is_name;
use crdt_core::limits;

use super::given::Given;
use super::issuer::{IssuerConfig, IssuerDraft};
use super::problem::{ConfigProblems, Fault, Problem, Source};
use super::{LogFormat, LogLevel, ServerConfig, TlsFiles};
use crate::token::TTL_S_MAX;

/// A configuration in the making: the two halves of `tls` arrive one by one.
#[derive(Default)]
pub(super) struct Draft {
    config: ServerConfig,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    tls_source: Option<Source>,
    issuers: BTreeMap<String, IssuerDraft>,
}

/// One key.
pub(super) struct Setting {
    pub(super) key: &'static str,
    pub(super) set: fn(&mut Draft, &Given) -> Result<(), Fault>,
}

pub(super) const SETTINGS: &[Setting] = &[
    Setting { key: "listen", set: set_listen },
    Setting { key: "data_dir", set: |d, v| put(&mut d.config.data_dir, path(v)) },
    Setting { key: "allowed_origins", set: |d, v| put(&mut d.config.allowed_origins, origins(v)) },
    Setting {
        key: "drain_timeout_ms",
        set: |d, v| put(&mut d.config.drain_timeout, millis(v, 0, 10 * MINUTE_MS)),
    },
    Setting {
        key: "limits.max_connections",
        set: |d, v| put(&mut d.config.limits.max_connections, count(v, 1, 1_000_000)),
    },
    Setting {
        key: "limits.max_handshakes",
        set: |d, v| put(&mut d.config.limits.max_handshakes, count(v, 1, 1_000_000)),
    },
    Setting {
        key: "limits.handshake_timeout_ms",
        set: |d, v| put(&mut d.config.limits.handshake_timeout, millis(v, 10, 2 * MINUTE_MS)),
    },
    Setting {
        key: "limits.idle_timeout_ms",
        set: |d, v| put(&mut d.config.limits.idle_timeout, millis(v, 1_000, 60 * MINUTE_MS)),
    },
    Setting {
        key: "limits.frame_bytes",
        set: |d, v| {
            let bytes = count(v, FRAME_BYTES_MIN, limits::FRAME_BYTES_MAX);
            put(&mut d.config.limits.frame_bytes, bytes)
        },
    },
    Setting {
        key: "limits.batches_in_flight",
        set: |d, v| {
            let batches = count(v, 1, limits::BATCHES_IN_FLIGHT_MAX);
            put(&mut d.config.limits.batches_in_flight, batches)
        },
    },
    Setting {
        key: "limits.pages_in_flight",
        set: |d, v| {
            let pages = count(v, 1, limits::PAGES_IN_FLIGHT_MAX);
            put(&mut d.config.limits.pages_in_flight, pages)
        },
    },
    Setting {
        key: "limits.sockets_per_address",
        set: |d, v| put(&mut d.config.limits.sockets_per_address, count(v, 1, 1_000_000)),
    },
    Setting {
        key: "limits.connects_per_minute",
        set: |d, v| put(&mut d.config.limits.connects_per_minute, amount(v, 1, 1_000_000)),
    },
    Setting {
        key: "limits.sockets_per_member",
        set: |d, v| put(&mut d.config.limits.sockets_per_member, count(v, 1, 1_000_000)),
    },
    Setting {
        key: "limits.requests_per_minute",
        set: |d, v| put(&mut d.config.limits.requests_per_minute, amount(v, 60, 1_000_000)),
    },
    Setting {
        key: "limits.megabytes_per_hour",
        set: |d, v| put(&mut d.config.limits.megabytes_per_hour, amount(v, 16, 4_095)),
    },
    Setting { key: "tls.cert", set: |d, v| put(&mut d.cert, path(v).map(Some)) },
    Setting { key: "tls.key", set: |d, v| put(&mut d.key, path(v).map(Some)) },
    Setting { key: "log.level", set: |d, v| put(&mut d.config.log.level, log_level(v)) },
    Setting { key: "log.format", set: |d, v| put(&mut d.config.log.format, log_format(v)) },
    Setting {
        key: "token.ttl_s",
        set: |d, v| put(&mut d.config.token.ttl, seconds(v, 60, TTL_S_MAX)),
    },
    Setting {
        key: "accounts.access_ttl_s",
        set: |d, v| put(&mut d.config.accounts.access_ttl, seconds(v, 60, ACCESS_TTL_S_MAX)),
    },
    Setting {
        key: "accounts.refresh_ttl_s",
        set: |d, v| put(&mut d.config.accounts.refresh_ttl, seconds(v, 3_600, TTL_S_MAX)),
    },
    Setting {
        key: "accounts.attempts_per_minute",
        set: |d, v| put(&mut d.config.accounts.attempts_per_minute, amount(v, 0, 10_000)),
    },
    Setting {
        key: "accounts.trusted_proxies",
        set: |d, v| put(&mut d.config.accounts.trusted_proxies, addresses(v)),
    },
    Setting { key: "storage.max_page_count", set: set_max_page_count },
];

/// An unknown key, with the known one of the same last word when there is one.
pub(super) fn unknown(key: &str) -> Fault {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let meant = SETTINGS.iter().map(|setting| setting.key).find(|known| last(known) == last(key));
    Fault::Unknown { meant }
}

impl Draft {
    /// Remembers who set half of `tls`, so that a missing other half can be blamed on a place.
    pub(super) fn set_by(&mut self, key: &str, source: Source) {
        if key.starts_with("tls.") {
            self.tls_source = Some(source);
        }
    }

    /// Takes the value of an issuer's key; nothing when the key is of no issuer.
    pub(super) fn set_issuer(
        &mut self,
        key: &str,
        given: &Given,
        source: &Source,
    ) -> Option<Result<(), Fault>> {
        let rest = key.strip_prefix("issuer.")?;
        let (name, key) = rest.split_once('.').unwrap_or((rest, ""));
        if !is_name(name) {
            let expected = "called by lower case letters, digits and _";
            return Some(Err(Fault::NotA { expected, got: name.chars().take(80).collect() }));
        }
        let draft = self.issuers.entry(name.to_owned());
        let draft = draft.or_insert_with(|| IssuerDraft::new(source.clone()));
        draft.mention(source);
        // An issuer without any key is named all the same: all that it lacks is reported.
        if key.is_empty() && given.is_table() { Some(Ok(())) } else { Some(draft.set(key, given)) }
    }

    /// The configuration, unless there were problems or the keys do not fit each other.
    pub(super) fn finish(self, mut problems: Vec<Problem>) -> Result<ServerConfig, ConfigProblems> {
        let Self { mut config, cert, key, tls_source, issuers } = self;
        config.issuers = finish_issuers(issuers, &mut problems);
        let lonely = match (cert, key) {
            (Some(cert), Some(key)) => {
                config.tls = Some(TlsFiles { cert, key });
                None
            }
            (Some(_), None) => Some(("tls.cert", "tls.key")),
            (None, Some(_)) => Some(("tls.key", "tls.cert")),
            (None, None) => None,
        };
        // When the other half is itself a problem, that one is enough.
        let other_is_broken =
            |other: &str| problems.iter().any(|p| p.key.as_deref() == Some(other));
        if let (Some((key, other)), Some(source)) = (lonely, tls_source)
            && !other_is_broken(other)
        {
            let fault = Fault::Needs { other };
            problems.push(Problem { source, key: Some(key.to_owned()), fault });
        }
        if problems.is_empty() { Ok(config) } else { Err(ConfigProblems(problems)) }
    }
}

fn finish_issuers(
    drafts: BTreeMap<String, IssuerDraft>,
    problems: &mut Vec<Problem>,
) -> Vec<IssuerConfig> {
    let mut issuers: Vec<IssuerConfig> = Vec::new();
    for (name, draft) in drafts {
        let source = draft.source.clone();
        let Some(issuer) = draft.finish(&name, problems) else { continue };
        if let Some(other) = issuers.iter().find(|other| other.iss == issuer.iss) {
            let fault = Fault::SameIssuer { other: other.name.clone() };
            problems.push(Problem { source, key: Some(format!("issuer.{name}")), fault });
        }
        issuers.push(issuer);
    }
    issuers
}

fn put<T>(place: &mut T, value: Result<T, Fault>) -> Result<(), Fault> {
    *place = value?;
    Ok(())
}

fn set_listen(draft: &mut Draft, given: &Given) -> Result<(), Fault> {
    const EXPECTED: &str = "an address and a port such as 127.0.0.1:8640";
    let text = given.text(EXPECTED)?;
    let address =
        text.parse().map_err(|_| Fault::NotA { expected: EXPECTED, got: text.to_owned() });
    put(&mut draft.config.listen, address)
}

fn set_max_page_count(draft: &mut Draft, given: &Given) -> Result<(), Fault> {
    let pages = given.integer(PAGE_COUNT_MIN, PAGE_COUNT_MAX)?;
    draft.config.storage.max_page_count = u32::try_from(pages).ok();
    Ok(())
}

fn path(given: &Given) -> Result<PathBuf, Fault> {
    const EXPECTED: &str = "a path";
    match given.text(EXPECTED)? {
        "" => Err(Fault::NotA { expected: EXPECTED, got: String::new() }),
        text => Ok(PathBuf::from(text)),
    }
}

fn millis(given: &Given, min: u64, max: u64) -> Result<Duration, Fault> {
    given.integer(min, max).map(Duration::from_millis)
}

fn seconds(given: &Given, min: u64, max: u64) -> Result<Duration, Fault> {
    given.integer(min, max).map(Duration::from_secs)
}

fn addresses(given: &Given) -> Result<Vec<IpAddr>, Fault> {
    const EXPECTED: &str = "addresses such as 10.0.0.1";
    let parse = |text: &str| {
        text.parse().map_err(|_| Fault::NotA { expected: EXPECTED, got: text.to_owned() })
    };
    given.list()?.into_iter().map(parse).collect()
}

fn count(given: &Given, min: usize, max: usize) -> Result<usize, Fault> {
    let number = given.integer(min as u64, max as u64)?;
    Ok(usize::try_from(number).expect("it is at most `max`, which is a usize"))
}

fn amount(given: &Given, min: u32, max: u32) -> Result<u32, Fault> {
    let number = given.integer(min.into(), max.into())?;
    Ok(u32::try_from(number).expect("it is at most `max`, which is a u32"))
}

/// Origins are compared byte for byte, so one that no browser would send is a typing error.
fn origins(given: &Given) -> Result<Vec<String>, Fault> {
    let texts = given.list()?;
    if let Some(bad) = texts.iter().find(|text| !is_origin(text)) {
        let expected = "origins such as https://crm.example.com, without a path or a wildcard";
        return Err(Fault::NotA { expected, got: (*bad).to_owned() });
    }
    Ok(texts.into_iter().map(str::to_owned).collect())
}

fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let plain = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
    !scheme.is_empty()
        && scheme.bytes().all(|byte| byte.is_ascii_lowercase())
        && !host.is_empty()
        && host.bytes().all(|byte| plain(byte) && !b"/*?#@\\".contains(&byte))
}

fn log_level(given: &Given) -> Result<LogLevel, Fault> {
    const EXPECTED: &str = "one of error, warn, info, debug, trace";
    match given.text(EXPECTED)? {
        "error" => Ok(LogLevel::Error),
        "warn" => Ok(LogLevel::Warn),
        "info" => Ok(LogLevel::Info),
        "debug" => Ok(LogLevel::Debug),
        "trace" => Ok(LogLevel::Trace),
        other => Err(Fault::NotA { expected: EXPECTED, got: other.to_owned() }),
    }
}

fn log_format(given: &Given) -> Result<LogFormat, Fault> {
    const EXPECTED: &str = "one of text, json";
    match given.text(EXPECTED)? {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => Err(Fault::NotA { expected: EXPECTED, got: other.to_owned() }),
    }
}

const MINUTE_MS: u64 = 60_000;
/// A frame carries a whole batch and some room; a smaller cap would refuse honest work for ever.
const FRAME_BYTES_MIN: usize = limits::BATCH_BYTES_MAX + 64 * 1024;
/// The longest that an access token of an account is valid: so long a stolen one works.
const ACCESS_TTL_S_MAX: u64 = 15 * 60;
/// SQLite's own bound on the pages of a database.
const PAGE_COUNT_MAX: u64 = 4_294_967_294;
/// Below this not even an empty workspace fits.
const PAGE_COUNT_MIN: u64 = 32;

const _: () = assert!(FRAME_BYTES_MIN <= limits::FRAME_BYTES_MAX);
