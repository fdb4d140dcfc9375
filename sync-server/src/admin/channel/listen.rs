//! The server's side of the channel.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::error::{AdminError, Fault, FaultCode};
use super::super::request::{AdminCall, AdminReply};
use super::{Answer, REPLY_BYTES_MAX, REQUEST_BYTES_MAX, TIMEOUT, socket_path};

/// Commands that are worked on at once; the others wait.
const AT_ONCE: usize = 8;
/// Connections at once; the next one is closed unheard.
const CONNECTIONS_MAX: usize = 128;

/// A listening admin channel. Its file goes when it does.
pub(super) struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Who is heard besides root.
    owner: u32,
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // A file that stays is taken for what a crash leaves.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl AdminSocket {
    /// Listens in a data directory that this server alone holds: a socket that is there is left over.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub(super) fn bind(data_dir: &Path) -> io::Result<Self> {
        let path = socket_path(data_dir);
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let owner = std::fs::metadata(&path)?.uid();
        Ok(Self { listener, path, owner })
    }

    /// Answers commands with `perform` until `stop`; what was begun is finished first.
    pub(super) async fn serve<F, A>(self, perform: F, mut stop: watch::Receiver<bool>)
    where
        F: Fn(AdminCall) -> A + Send + Sync + 'static,
        A: Future<Output = Result<AdminReply, AdminError>> + Send,
    {
        let perform = Arc::new(perform);
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut tasks = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                // Without this, tasks that have ended are kept until the server stops.
                Some(_) = tasks.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the admin channel cannot accept");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            };
            if tasks.len() >= CONNECTIONS_MAX || !is_heard(&stream, self.owner) {
                continue;
            }
            let (perform, places) = (Arc::clone(&perform), Arc::clone(&places));
            tasks.spawn(async move {
                // Whoever says nothing takes no place.
                let perform = |call| async {
                    let _place = places.acquire().await.map_err(|_| AdminError::stopping())?;
                    perform(call).await
                };
                if let Err(error) = converse(stream, perform).await {
                    tracing::debug!(%error, "an admin command went away");
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }
}

/// Whether the other end is the server's own user, or root. The file's mode says the same, from the moment
/// when it is set.
fn is_heard(stream: &UnixStream, owner: u32) -> bool {
    let heard = stream.peer_cred().is_ok_and(|peer| peer.uid() == owner || peer.uid() == 0);
    if !heard {
        tracing::warn!("the admin channel was opened by another user, and closed");
    }
    heard
}

async fn converse<A>(mut stream: UnixStream, perform: impl Fn(AdminCall) -> A) -> io::Result<()>
where
    A: Future<Output = Result<AdminReply, AdminError>>,
{
    let mut line = Vec::new();
    let mut reader = BufReader::new(&mut stream).take(REQUEST_BYTES_MAX);
    let read = timeout(TIMEOUT, reader.read_until(b'\n', &mut line)).await;
    read.map_err(|_| io::Error::from(ErrorKind::TimedOut))??;
    let answer = match parse(&line) {
        Ok(call) => match perform(call).await {
            Ok(reply) => Answer::Ok(reply),
            Err(error) => Answer::Failed(error.into()),
        },
        Err(fault) => Answer::Failed(fault),
    };
    let mut line = spell(&answer)?;
    line.push(b'\n');
    let written = timeout(TIMEOUT, stream.write_all(&line)).await;
    written.map_err(|_| io::Error::from(ErrorKind::TimedOut))?
}

fn parse(line: &[u8]) -> Result<AdminCall, Fault> {
    let fault = |text: String| Fault { code: FaultCode::BadRequest, text };
    let Some(line) = line.strip_suffix(b"\n") else {
        let text = format!("a request is one line of at most {REQUEST_BYTES_MAX} bytes");
        return Err(fault(text));
    };
    // The parser's own message may hold a piece of the request, and a request may hold a password.
    serde_json::from_slice(line).map_err(|_| {
        fault(
            "the server does not know this request; is it the same version as the command?"
                .to_owned(),
        )
    })
}

fn spell(answer: &Answer) -> io::Result<Vec<u8>> {
    let line = serde_json::to_vec(answer)?;
    if (line.len() as u64) < REPLY_BYTES_MAX {
        return Ok(line);
    }
    let text =
        format!("the answer is larger than {REPLY_BYTES_MAX} bytes; stop the server and ask again");
    Ok(serde_json::to_vec(&Answer::Failed(Fault { code: FaultCode::Machine, text }))?)
}
