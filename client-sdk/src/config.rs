//! What a client is opened with: where its file is, who its user is, and the sources of time, randomness
//! and tokens, each replaceable.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crdt_core::id::{DeviceId, MemberId};
use crdt_core::limits;
use crdt_core::schema::Schema;
use futures_util::future::BoxFuture;
use rand::rngs::{OsRng, StdRng};
use rand::{RngCore, SeedableRng, TryRngCore};

use crate::clock::{Clock, SystemClock};

/// What a client is opened with.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// The database file; its folder exists.
    pub path: PathBuf,
    /// The workspace that the file belongs to.
    pub workspace: String,
    /// The user.
    pub member: MemberId,
    /// The user's name, until the server says it.
    pub member_name: String,
    /// The server's address, `wss://…`; none works offline for ever.
    pub server: Option<String>,
    /// Where tokens come from.
    pub tokens: Option<Arc<dyn TokenProvider>>,
    /// The schema to begin with; the server's takes its place at connect.
    pub schema: Option<Arc<Schema>>,
    /// The source of time.
    pub clock: Arc<dyn Clock>,
    /// The source of random bytes.
    pub entropy: Arc<Mutex<dyn Entropy>>,
    /// The largest the database may become, pages of 4 KiB; none leaves it to the disk.
    pub max_page_count: Option<u32>,
    /// The SQLite VFS that the file is opened through, by the name under which it is registered; none takes
    /// the platform's own. For VFS extensions such as encryption, and for disks that fail in tests. Files
    /// beside the database (its lock, one that was set aside) are ordinary files all the same.
    pub vfs: Option<&'static str>,
    /// Certificates that are trusted beside the public ones, DER.
    pub extra_roots: Vec<Vec<u8>>,
    /// The hardware; without it an id is made with the file and kept in it.
    pub device: Option<DeviceId>,
    /// The device's name, for the people who list and revoke devices.
    pub device_name: String,
}

impl Config {
    /// A client that works offline, with the built-in schema and the system's clock and randomness.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, workspace: impl Into<String>, member: MemberId) -> Self {
        Self {
            path: path.into(),
            workspace: workspace.into(),
            member,
            member_name: String::new(),
            server: None,
            tokens: None,
            schema: None,
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(Mutex::new(SystemEntropy)),
            max_page_count: None,
            vfs: None,
            extra_roots: Vec::new(),
            device: None,
            device_name: String::new(),
        }
    }

    /// Names the user.
    #[must_use]
    pub fn member_name(mut self, name: impl Into<String>) -> Self {
        self.member_name = name.into();
        self
    }

    /// Says which server to sync with, and where its tokens come from.
    #[must_use]
    pub fn server(mut self, url: impl Into<String>, tokens: impl TokenProvider + 'static) -> Self {
        self.server = Some(url.into());
        self.tokens = Some(Arc::new(tokens));
        self
    }

    /// Begins with another schema than the built-in one.
    #[must_use]
    pub fn schema(mut self, schema: Arc<Schema>) -> Self {
        self.schema = Some(schema);
        self
    }

    /// Tells the time in another way.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Draws random bytes from elsewhere.
    #[must_use]
    pub fn entropy(mut self, entropy: impl Entropy + 'static) -> Self {
        self.entropy = Arc::new(Mutex::new(entropy));
        self
    }

    /// Bounds the size of the database, pages of 4 KiB.
    #[must_use]
    pub fn max_page_count(mut self, pages: u32) -> Self {
        self.max_page_count = Some(pages);
        self
    }

    /// Opens the file through a SQLite VFS that is registered under this name.
    #[must_use]
    pub fn vfs(mut self, name: &'static str) -> Self {
        self.vfs = Some(name);
        self
    }

    /// Says which hardware this is: an id that the app keeps outside of the database, so that it outlives
    /// the file, and a name for people. Of the name at most [`limits::DEVICE_NAME_BYTES_MAX`] are told.
    #[must_use]
    pub fn device(mut self, id: DeviceId, name: impl Into<String>) -> Self {
        self.device = Some(id);
        self.device_name(name)
    }

    /// Names the device alone.
    #[must_use]
    pub fn device_name(mut self, name: impl Into<String>) -> Self {
        let mut name = name.into();
        name.truncate(name.floor_char_boundary(limits::DEVICE_NAME_BYTES_MAX));
        self.device_name = name;
        self
    }

    /// Trusts a certificate (DER) beside the public ones.
    #[must_use]
    pub fn extra_root(mut self, der: Vec<u8>) -> Self {
        self.extra_roots.push(der);
        self
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("path", &self.path)
            .field("workspace", &self.workspace)
            .field("member", &self.member)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// Where random bytes come from. The same bytes give the same ids: one seed decides everything.
pub trait Entropy: Send {
    /// Fills `bytes`.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// The operating system's randomness, drawn anew each time: two machines started from one image differ.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        OsRng.try_fill_bytes(bytes).expect("the operating system's random source does not run dry");
    }
}

/// Randomness from a seed, for tests.
#[derive(Debug, Clone)]
pub struct SeededEntropy(StdRng);

impl SeededEntropy {
    /// The same bytes for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

/// Where the SDK gets tokens from: the app's side of signing in.
///
/// It is asked before each connection, at least a minute before a token ends on an open one (which then goes
/// on without a break), and once more when the server does not take a token. Local work never waits for it.
/// Nothing that it gives is kept.
///
/// A provider for local accounts asks the server's `POST /v1/login` once, keeps the refresh token in the
/// platform's key store, and asks `POST /v1/refresh` from here: how an app does HTTP is its own choice, so
/// the SDK brings no client for it.
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use client_sdk::{TokenProvider, TokenProviderError, TokenReason};
/// use futures_util::future::BoxFuture;
///
/// /// What the app's sign-in page fills and its sign-out button empties.
/// #[derive(Clone, Default)]
/// struct Session(Arc<Mutex<Option<String>>>);
///
/// impl TokenProvider for Session {
///     fn token(
///         &self,
///         reason: TokenReason,
///     ) -> BoxFuture<'static, Result<Option<String>, TokenProviderError>> {
///         let session = Arc::clone(&self.0);
///         Box::pin(async move {
///             if reason == TokenReason::Refused {
///                 // Here an app asks for a new one; this one has nobody to ask.
///                 session.lock().unwrap().take();
///             }
///             Ok(session.lock().unwrap().clone())
///         })
///     }
/// }
///
/// let session = Session::default();
/// let asked = session.token(TokenReason::Start);
/// assert_eq!(futures_util::FutureExt::now_or_never(asked), Some(Ok(None)), "nobody has signed in");
/// ```
pub trait TokenProvider: Send + Sync {
    /// A token that is valid now; nothing when nobody is signed in: sync then stops with
    /// [`SyncPhase::NeedsAuth`](crate::SyncPhase::NeedsAuth) until
    /// [`retry_now`](crate::Client::retry_now). May ask the network.
    ///
    /// # Errors
    /// When none can be had at present: asked again after a while.
    fn token(
        &self,
        reason: TokenReason,
    ) -> BoxFuture<'static, Result<Option<String>, TokenProviderError>>;
}

/// Why a token is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenReason {
    /// A connection is to be made: a token that the app still has will do.
    Start,
    /// The one in use ends soon: a fresh one is wanted.
    Expiring,
    /// The server does not take the last one: a fresh one is wanted, and somebody has to sign in when that
    /// is refused as well.
    Refused,
}

/// No token is to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenProviderError {
    /// Not now: the provider could not be reached.
    #[error("no token can be fetched at present: {0}")]
    Unavailable(String),
}

/// One token for ever, for tests and tools.
#[derive(Clone)]
pub struct StaticToken(String);

impl StaticToken {
    /// Always gives this token.
    #[must_use]
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }
}

impl fmt::Debug for StaticToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StaticToken(..)")
    }
}

impl TokenProvider for StaticToken {
    fn token(
        &self,
        _: TokenReason,
    ) -> BoxFuture<'static, Result<Option<String>, TokenProviderError>> {
        let token = self.0.clone();
        Box::pin(async move { Ok(Some(token)) })
    }
}
