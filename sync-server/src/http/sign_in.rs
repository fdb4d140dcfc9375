//! Signing in over HTTP: small JSON in, small JSON out, nothing kept by anyone on the way.
//!
//! There are no cookies, and no headers that would let a web page of somebody else read an answer.

use std::net::IpAddr;

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::addresses::address;
use super::listen::Peer;
use super::{HttpState, Refusal, origin_allowed};
use crate::clock;
use crate::identity::accounts::{SignInError, SignedIn};

/// `POST /v1/login {workspace, login, password, device}`.
pub(super) async fn login(State(state): State<HttpState>, request: Request) -> Answer {
    let (from, login) = read(&state, request).await?;
    let accounts = state.accounts.ok_or(Unserved::NoAccounts)?;
    Ok(Signed(accounts.sign_in(from, login, clock::now()).await?).into_response())
}

/// `POST /v1/refresh {workspace, refresh_token, device}`.
pub(super) async fn refresh(State(state): State<HttpState>, request: Request) -> Answer {
    let (from, refresh) = read(&state, request).await?;
    let accounts = state.accounts.ok_or(Unserved::NoAccounts)?;
    Ok(Signed(accounts.refresh(from, refresh, clock::now()).await?).into_response())
}

/// `POST /v1/logout {workspace, refresh_token, device}`.
pub(super) async fn logout(State(state): State<HttpState>, request: Request) -> Answer {
    let (from, refresh) = read(&state, request).await?;
    let accounts = state.accounts.ok_or(Unserved::NoAccounts)?;
    accounts.sign_out(from, refresh).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

type Answer = Result<Response, Unserved>;

/// Tokens on their way out: no cache may keep them.
struct Signed(SignedIn);

impl IntoResponse for Signed {
    fn into_response(self) -> Response {
        let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
        (no_store, Json(self.0)).into_response()
    }
}

/// Who asks, and what. The type of the body is insisted on, since a web page can send any other to anywhere
/// without being asked whether it may.
async fn read<T: DeserializeOwned>(
    state: &HttpState,
    request: Request,
) -> Result<(IpAddr, T), Unserved> {
    if let Some(refusal) = state.readiness.refusal() {
        return Err(Unserved::Refused(refusal));
    }
    if !origin_allowed(request.headers(), &state.config.allowed_origins) {
        return Err(Unserved::Refused(Refusal::ForeignOrigin));
    }
    if !is_json(request.headers()) {
        return Err(Unserved::NotJson);
    }
    let Peer { address: peer, .. } = *request.extensions().get().ok_or(Unserved::NoAccounts)?;
    let from = address(peer.ip(), request.headers(), &state.config.accounts.trusted_proxies);
    let body =
        to_bytes(request.into_body(), BODY_BYTES_MAX).await.map_err(|_| Unserved::TooLong)?;
    let asked = serde_json::from_slice(&body).map_err(|_| Unserved::BadRequest)?;
    Ok((from, asked))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// Why there is no answer of the kind that was asked for.
pub(super) enum Unserved {
    Refused(Refusal),
    /// This listener has none, or does not say who asks.
    NoAccounts,
    NotJson,
    TooLong,
    BadRequest,
    SignIn(SignInError),
}

impl From<SignInError> for Unserved {
    fn from(error: SignInError) -> Self {
        Self::SignIn(error)
    }
}

impl IntoResponse for Unserved {
    fn into_response(self) -> Response {
        let (status, code, text) = match self {
            Self::Refused(refusal) => return refusal.into_response(),
            Self::NoAccounts => {
                let text = "this listener serves no accounts".to_owned();
                (StatusCode::INTERNAL_SERVER_ERROR, "internal", text)
            }
            Self::NotJson => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", "send application/json".to_owned())
            }
            Self::TooLong => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too_long", "the request is too long".to_owned())
            }
            Self::BadRequest => (
                StatusCode::BAD_REQUEST,
                "bad_request",
                "the request is not as it should be".to_owned(),
            ),
            Self::SignIn(error) => return refused(&error),
        };
        answer(status, code, &text)
    }
}

fn refused(error: &SignInError) -> Response {
    let (status, code) = match error {
        SignInError::Off => (StatusCode::NOT_FOUND, "off"),
        SignInError::WrongCredentials => (StatusCode::UNAUTHORIZED, "wrong_credentials"),
        SignInError::SignedOut => (StatusCode::UNAUTHORIZED, "signed_out"),
        SignInError::MemberDisabled => (StatusCode::FORBIDDEN, "member_disabled"),
        SignInError::DeviceRevoked => (StatusCode::FORBIDDEN, "device_revoked"),
        SignInError::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "too_many"),
        SignInError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
        SignInError::Store(_) | SignInError::Machine(_) => {
            tracing::error!(%error, "signing in failed");
            // What is wrong inside is no stranger's business.
            let text = "the server failed; try again later";
            return answer(StatusCode::INTERNAL_SERVER_ERROR, "internal", text);
        }
    };
    let mut response = answer(status, code, &error.to_string());
    let wait_s = match error {
        SignInError::TooMany { retry_after } => Some(retry_after.as_secs() + 1),
        SignInError::Busy => Some(BUSY_RETRY_S),
        _ => None,
    };
    if let Some(seconds) = wait_s {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn answer(status: StatusCode, code: &str, text: &str) -> Response {
    (status, Json(json!({ "error": code, "text": text }))).into_response()
}

/// A request, bytes: the longest password with every character escaped.
const BODY_BYTES_MAX: usize = 16 * 1_024;
const BUSY_RETRY_S: u64 = 5;
