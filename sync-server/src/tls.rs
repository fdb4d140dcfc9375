//! TLS on the listening port: one certificate, read from two PEM files, and again when it was renewed.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or it is not PEM.
    #[error("{} cannot be read as PEM: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The certificate file holds no certificate.
    #[error("{} holds no certificate", .path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The two files do not belong together, or the key is of an unknown kind.
    #[error("{} is not a key for the certificate in {}: {source}", .key.display(), .cert.display())]
    Mismatch {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The crypto library offers no TLS version that we want.
    #[error("no TLS version is available: {0}")]
    NoVersion(rustls::Error),
}

/// Takes TLS connections; clones show the same certificate.
#[derive(Clone)]
pub struct Acceptor {
    tls: TlsAcceptor,
    shown: Arc<Shown>,
}

impl Acceptor {
    /// With the certificate chain and the key in two PEM files.
    ///
    /// # Errors
    /// A file cannot be read or used; the error names it.
    pub fn from_files(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let shown = Arc::new(Shown {
            current: RwLock::new(read(cert, key, &provider)?),
            cert: cert.to_owned(),
            key: key.to_owned(),
            provider: Arc::clone(&provider),
        });
        let resolver: Arc<dyn ResolvesServerCert> = shown.clone();
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::NoVersion)?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: TlsAcceptor::from(Arc::new(config)), shown })
    }

    /// Reads the files again; connections from now on see what they hold. Open ones are left alone.
    ///
    /// # Errors
    /// A file cannot be read or used; then the old certificate stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        let Shown { cert, key, provider, current } = &*self.shown;
        let fresh = read(cert, key, provider)?;
        *current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Reloads at every SIGHUP, for ever.
    pub(crate) async fn reload_on_hangup(&self) {
        let mut hangups = match Hangups::listen() {
            Ok(hangups) => hangups,
            Err(error) => {
                tracing::warn!(%error, "a renewed certificate needs a restart");
                return std::future::pending().await;
            }
        };
        loop {
            hangups.next().await;
            match self.reload() {
                Ok(()) => tracing::info!("read the certificate again"),
                Err(error) => tracing::error!(%error, "the old certificate stays"),
            }
        }
    }

    pub(crate) fn accept(
        &self,
        stream: TcpStream,
    ) -> impl Future<Output = io::Result<TlsStream<TcpStream>>> + use<> {
        self.tls.accept(stream)
    }
}

/// The certificate that is shown now.
struct Shown {
    current: RwLock<Arc<CertifiedKey>>,
    cert: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl fmt::Debug for Shown {
    /// Leaves the key out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shown({})", self.cert.display())
    }
}

fn read(cert: &Path, key: &Path, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        |source| TlsError::Unreadable { path, source }
    };
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable(cert))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { path: cert.to_owned() });
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key))?;
    let certified = CertifiedKey::from_der(chain, private, provider).map_err(|source| {
        TlsError::Mismatch { cert: cert.to_owned(), key: key.to_owned(), source }
    })?;
    Ok(Arc::new(certified))
}

/// The signal that asks for a reload; never arrives where there is none.
struct Hangups {
    #[cfg(unix)]
    signal: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Hangups {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { signal: signal(SignalKind::hangup())? })
    }

    async fn next(&mut self) {
        if self.signal.recv().await.is_none() {
            std::future::pending().await
        }
    }
}

#[cfg(not(unix))]
impl Hangups {
    fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    async fn next(&mut self) {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests;
