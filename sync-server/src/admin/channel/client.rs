//! The command's side of the channel.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::super::error::AdminError;
use super::super::request::{AdminCall, AdminReply};
use super::{Answer, REPLY_BYTES_MAX, REQUEST_BYTES_MAX, TIMEOUT, patience, socket_path};

/// Asks the server that holds the data directory; nothing when there is none.
///
/// # Errors
/// When the server fails the request or cannot be reached.
pub(in crate::admin) fn ask(
    data_dir: &Path,
    call: &AdminCall,
) -> Result<Option<AdminReply>, AdminError> {
    let path = socket_path(data_dir);
    let stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(error) => return no_server(&path, &error).map(|()| None),
    };
    match exchange(stream, call).map_err(|error| lost(&error))? {
        Answer::Ok(reply) => Ok(Some(reply)),
        Answer::Failed(fault) => Err(AdminError::Remote(fault)),
    }
}

/// Whether a failed connection means that no server is there.
fn no_server(path: &Path, error: &io::Error) -> Result<(), AdminError> {
    match error.kind() {
        // A crashed server leaves its socket behind, and nobody answers there. Where the path is too long
        // for a socket no server could make one.
        ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::InvalidInput => Ok(()),
        ErrorKind::PermissionDenied => Err(AdminError::Channel(format!(
            "{}: a server holds this data directory and listens to its own user only; run the command as \
             that user",
            path.display()
        ))),
        _ => Err(AdminError::Channel(format!("{}: {error}", path.display()))),
    }
}

fn exchange(mut stream: UnixStream, call: &AdminCall) -> io::Result<Answer> {
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.set_read_timeout(Some(patience(call)))?;
    let mut line = serde_json::to_vec(call)?;
    line.push(b'\n');
    if line.len() as u64 > REQUEST_BYTES_MAX {
        let text = format!("the request is larger than {REQUEST_BYTES_MAX} bytes");
        return Err(io::Error::new(ErrorKind::InvalidInput, text));
    }
    stream.write_all(&line)?;
    let mut line = Vec::new();
    BufReader::new(stream).take(REPLY_BYTES_MAX).read_until(b'\n', &mut line)?;
    Ok(serde_json::from_slice(&line)?)
}

/// The server took the request, and its answer did not come.
fn lost(error: &io::Error) -> AdminError {
    let text = match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            "the server has not answered in time; look whether the command took effect before repeating it"
                .to_owned()
        }
        ErrorKind::InvalidInput => error.to_string(),
        _ => format!(
            "the server's answer cannot be read ({error}); is it the same version as this command?"
        ),
    };
    AdminError::Channel(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_or_dead_socket_means_that_there_is_no_server() {
        let path = Path::new("data/admin.sock");
        for kind in [ErrorKind::NotFound, ErrorKind::ConnectionRefused] {
            assert!(no_server(path, &kind.into()).is_ok());
        }
        let denied = no_server(path, &ErrorKind::PermissionDenied.into()).unwrap_err().to_string();
        assert!(denied.contains("data/admin.sock") && denied.contains("as that user"), "{denied}");
        assert!(no_server(path, &ErrorKind::OutOfMemory.into()).is_err());
    }
}
