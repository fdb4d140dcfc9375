//! Issuers of tokens: what `issuer.NAME.…` says, key by key, and what has to be there in the end.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crdt_core::id::is_name;
use http::Uri;

use super::given::Given;
use super::problem::{Fault, Problem, Source};
use crate::token::{self, Algorithm, Audience, Start};

/// An identity provider whose tokens are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerConfig {
    /// What the configuration calls it.
    pub name: String,
    /// The `iss` of its tokens, byte for byte.
    pub iss: String,
    /// The `aud` of tokens that are meant for this server.
    pub audience: String,
    /// Whether a token may be meant for others as well.
    pub audience_rule: Audience,
    /// Where its keys are.
    pub keys: KeySource,
    /// The algorithms whose keys are taken.
    pub algorithms: BTreeSet<Algorithm>,
    /// Which workspace its members belong to.
    pub workspace: WorkspaceRule,
    /// The claim that says from when on a token is valid.
    pub start: Start,
    /// How far its clock may be off.
    pub leeway: Duration,
    /// The longest that one of its tokens may be valid.
    pub lifetime_max: Duration,
}

/// Where an issuer's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In a file, as a JWKS.
    File(PathBuf),
    /// Behind an address, as a JWKS.
    Url(KeyUrl),
}

/// Which workspace an issuer's members belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkspaceRule {
    /// Always this one.
    Fixed(String),
    /// The one that this claim names: the issuer is trusted with every workspace of the server.
    Claim(String),
}

/// The address of a JWKS: https, or http to this very machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUrl {
    uri: Uri,
    host: String,
    tls: bool,
}

impl KeyUrl {
    /// Its host, an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(if self.tls { 443 } else { 80 })
    }

    /// Host and port as they were written.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    /// Path and query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    /// Whether it is https.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.tls
    }
}

impl FromStr for KeyUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "an https address without a user, or http to this machine";
        let uri: Uri = text.parse().map_err(|_| EXPECTED)?;
        let authority = uri.authority().ok_or(EXPECTED)?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let tls = uri.scheme_str() == Some("https");
        let plain = uri.scheme_str() == Some("http") && is_this_machine(&host);
        let has_user = authority.as_str().contains('@');
        if text.len() > URL_BYTES_MAX || host.is_empty() || has_user || !(tls || plain) {
            return Err(EXPECTED);
        }
        Ok(Self { uri, host, tls })
    }
}

impl fmt::Display for KeyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// An issuer in the making.
pub(super) struct IssuerDraft {
    /// Where it was mentioned first: what is missing is blamed on it.
    pub(super) source: Source,
    iss: Option<String>,
    audience: Option<String>,
    audience_rule: Audience,
    jwks_file: Option<PathBuf>,
    jwks_url: Option<KeyUrl>,
    algorithms: BTreeSet<Algorithm>,
    workspace: Option<String>,
    workspace_claim: Option<String>,
    start: Start,
    leeway: Duration,
    lifetime_max: Duration,
    /// Keys that came with a value that was refused: they are not missing as well.
    broken: BTreeSet<String>,
}

/// Every key of an issuer.
pub(super) const ISSUER_KEYS: [&str; 11] = [
    "iss",
    "audience",
    "audience_rule",
    "jwks_file",
    "jwks_url",
    "algorithms",
    "workspace",
    "workspace_claim",
    "start_claim",
    "leeway_s",
    "max_lifetime_s",
];

impl IssuerDraft {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            iss: None,
            audience: None,
            audience_rule: Audience::Only,
            jwks_file: None,
            jwks_url: None,
            algorithms: Algorithm::ALL.into_iter().collect(),
            workspace: None,
            workspace_claim: None,
            start: Start::Nbf,
            leeway: Duration::from_secs(LEEWAY_S_MAX),
            lifetime_max: Duration::from_secs(60 * 60),
            broken: BTreeSet::new(),
        }
    }

    /// Remembers the first line that speaks of the issuer.
    pub(super) fn mention(&mut self, source: &Source) {
        if let (Source::File { line: first, .. }, Source::File { line, .. }) =
            (&self.source, source)
            && line < first
        {
            self.source = source.clone();
        }
    }

    /// Takes the value of one key.
    pub(super) fn set(&mut self, key: &str, given: &Given) -> Result<(), Fault> {
        let set = self.try_set(key, given);
        if set.is_err() {
            self.broken.insert(key.to_owned());
        }
        set
    }

    fn try_set(&mut self, key: &str, given: &Given) -> Result<(), Fault> {
        match key {
            "iss" => self.iss = Some(iss(given)?),
            "audience" => self.audience = Some(line(given, "the audience of tokens")?),
            "audience_rule" => {
                let rules = [("only", Audience::Only), ("among", Audience::Among)];
                self.audience_rule = one_of(given, "one of only, among", rules)?;
            }
            "jwks_file" => self.jwks_file = Some(line(given, "a path")?.into()),
            "jwks_url" => self.jwks_url = Some(url(given)?),
            "algorithms" => self.algorithms = algorithms(given)?,
            "workspace" => self.workspace = Some(workspace(given)?),
            "workspace_claim" => self.workspace_claim = Some(line(given, "a claim's name")?),
            "start_claim" => {
                let claims = [("nbf", Start::Nbf), ("iat", Start::Iat)];
                self.start = one_of(given, "one of nbf, iat", claims)?;
            }
            "leeway_s" => self.leeway = seconds(given, 0, LEEWAY_S_MAX)?,
            "max_lifetime_s" => self.lifetime_max = seconds(given, 60, LIFETIME_S_MAX)?,
            _ => {
                let meant = ISSUER_KEYS
                    .into_iter()
                    .find(|known| known.replace('_', "") == key.replace(['_', '-'], ""));
                return Err(Fault::Unknown { meant });
            }
        }
        Ok(())
    }

    /// The issuer, unless something is missing or two keys exclude each other.
    pub(super) fn finish(self, name: &str, problems: &mut Vec<Problem>) -> Option<IssuerConfig> {
        let mut faults = Vec::new();
        let mut lacks = |key: &'static str, others: &[&str]| {
            if !others.iter().chain([&key]).any(|key| self.broken.contains(*key)) {
                faults.push(Fault::Incomplete { key });
            }
        };
        if self.iss.is_none() {
            lacks("iss", &[]);
        }
        if self.audience.is_none() {
            lacks("audience", &[]);
        }
        if self.jwks_file.is_none() && self.jwks_url.is_none() {
            lacks("jwks_url or jwks_file", &["jwks_url", "jwks_file"]);
        }
        if self.workspace.is_none() && self.workspace_claim.is_none() {
            lacks("workspace or workspace_claim", &["workspace", "workspace_claim"]);
        }
        if self.jwks_file.is_some() && self.jwks_url.is_some() {
            faults.push(Fault::Both { one: "jwks_file", other: "jwks_url" });
        }
        if self.workspace.is_some() && self.workspace_claim.is_some() {
            faults.push(Fault::Both { one: "workspace", other: "workspace_claim" });
        }
        problems.extend(faults.into_iter().map(|fault| Problem {
            source: self.source.clone(),
            key: Some(format!("issuer.{name}")),
            fault,
        }));
        self.complete(name)
    }

    fn complete(self, name: &str) -> Option<IssuerConfig> {
        let keys = match (self.jwks_file, self.jwks_url) {
            (Some(file), _) => KeySource::File(file),
            (None, url) => KeySource::Url(url?),
        };
        let workspace = match (self.workspace, self.workspace_claim) {
            (Some(workspace), _) => WorkspaceRule::Fixed(workspace),
            (None, claim) => WorkspaceRule::Claim(claim?),
        };
        Some(IssuerConfig {
            name: name.to_owned(),
            iss: self.iss?,
            audience: self.audience?,
            audience_rule: self.audience_rule,
            keys,
            algorithms: self.algorithms,
            workspace,
            start: self.start,
            leeway: self.leeway,
            lifetime_max: self.lifetime_max,
        })
    }
}

fn iss(given: &Given) -> Result<String, Fault> {
    const EXPECTED: &str = "the `iss` of somebody else's tokens";
    let text = line(given, EXPECTED)?;
    if text == token::NAME {
        return Err(Fault::NotA { expected: EXPECTED, got: text });
    }
    Ok(text)
}

/// A text of one line that is not empty.
fn line(given: &Given, expected: &'static str) -> Result<String, Fault> {
    let text = given.text(expected)?;
    if text.is_empty() || text.len() > URL_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(Fault::NotA { expected, got: text.chars().take(80).collect() });
    }
    Ok(text.to_owned())
}

fn url(given: &Given) -> Result<KeyUrl, Fault> {
    let text = given.text("an address")?;
    text.parse().map_err(|expected| Fault::NotA { expected, got: text.chars().take(80).collect() })
}

fn workspace(given: &Given) -> Result<String, Fault> {
    const EXPECTED: &str = "a workspace's name";
    let text = given.text(EXPECTED)?;
    if is_name(text) {
        Ok(text.to_owned())
    } else {
        Err(Fault::NotA { expected: EXPECTED, got: text.chars().take(80).collect() })
    }
}

fn algorithms(given: &Given) -> Result<BTreeSet<Algorithm>, Fault> {
    const EXPECTED: &str = "some of RS256, ES256, EdDSA";
    let names = given.list()?;
    let refuse = |got: &str| Fault::NotA { expected: EXPECTED, got: got.to_owned() };
    if names.is_empty() {
        return Err(refuse(""));
    }
    names.into_iter().map(|name| Algorithm::named(name).ok_or_else(|| refuse(name))).collect()
}

fn one_of<T>(
    given: &Given,
    expected: &'static str,
    words: [(&'static str, T); 2],
) -> Result<T, Fault> {
    let text = given.text(expected)?;
    let found = words.into_iter().find(|(word, _)| *word == text);
    found.map(|(_, meant)| meant).ok_or_else(|| Fault::NotA { expected, got: text.to_owned() })
}

fn seconds(given: &Given, min: u64, max: u64) -> Result<Duration, Fault> {
    given.integer(min, max).map(Duration::from_secs)
}

/// The longest address, claim or issuer's name, bytes.
const URL_BYTES_MAX: usize = 2_048;
/// The most that clocks may differ, seconds.
const LEEWAY_S_MAX: u64 = token::LEEWAY_MS_MAX.unsigned_abs() / 1_000;
/// The longest lifetime that may be allowed, seconds: a day.
const LIFETIME_S_MAX: u64 = 24 * 60 * 60;
