//! Fetches an issuer's keys: one bounded GET, over TLS or from this machine, that follows nobody anywhere.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::jwks::JWKS_BYTES_MAX;
use crate::config::KeyUrl;

/// The crypto library offers no TLS version that we want.
#[derive(Debug, thiserror::Error)]
#[error("no TLS version is available: {0}")]
pub struct NoTls(#[from] rustls::Error);

/// Why keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("the connection failed: {0}")]
    Socket(#[from] io::Error),
    #[error("http to {0}, which is not this machine")]
    NotThisMachine(std::net::IpAddr),
    #[error("the address names no host")]
    NoHost,
    #[error("the answer is not HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be written: {0}")]
    Request(#[from] http::Error),
    #[error("the answer is {0}; redirects are not followed")]
    Status(StatusCode),
    #[error("the answer is longer than {JWKS_BYTES_MAX} bytes")]
    TooLong,
    #[error("there was no whole answer within {} seconds", TIMEOUT.as_secs())]
    TooSlow,
}

/// Fetches keys; clones trust the same certificates.
#[derive(Clone)]
pub(crate) struct Fetcher(TlsConnector);

impl Fetcher {
    pub(crate) fn new(roots: RootCertStore) -> Result<Self, NoTls> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// The body of a good answer.
    pub(crate) async fn get(&self, url: &KeyUrl) -> Result<Vec<u8>, FetchError> {
        timeout(TIMEOUT, self.connect(url)).await.map_err(|_| FetchError::TooSlow)?
    }

    async fn connect(&self, url: &KeyUrl) -> Result<Vec<u8>, FetchError> {
        let stream = TcpStream::connect((url.host(), url.port())).await?;
        if url.is_tls() {
            let name =
                ServerName::try_from(url.host().to_owned()).map_err(|_| FetchError::NoHost)?;
            return exchange(url, self.0.connect(name, stream).await?).await;
        }
        let address = stream.peer_addr()?.ip();
        // A name that was resolved somewhere else is a mistake or an attack.
        if !address.is_loopback() {
            return Err(FetchError::NotThisMachine(address));
        }
        exchange(url, stream).await
    }
}

/// The certificates that browsers trust.
pub(crate) fn web_roots() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

async fn exchange(
    url: &KeyUrl,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Vec<u8>, FetchError> {
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    let request = Request::get(url.path())
        .header(header::HOST, url.authority())
        .header(header::ACCEPT, "application/json")
        .body(Body::empty())?;
    let answer = async {
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        read(response.into_body()).await
    };
    // The connection is driven until the answer is whole; its own end says nothing that the answer does not.
    let driven = async {
        drop(connection.await);
        pending().await
    };
    tokio::select! {
        answer = answer => answer,
        () = driven => Err(FetchError::TooSlow),
    }
}

async fn read(mut body: Incoming) -> Result<Vec<u8>, FetchError> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame?;
        let data = frame.data_ref().map_or(&[][..], |data| data);
        if bytes.len() + data.len() > JWKS_BYTES_MAX {
            return Err(FetchError::TooLong);
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}

/// From the first packet to the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 16 * 1024;
