//! The real server as a process of its own, on a free loopback port, that can be killed and started again.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use crdt_core::id::MemberId;

use crate::{binaries, kills};

/// A server's data directory, and its process while one runs.
#[derive(Debug)]
pub struct RealServer {
    data: tempfile::TempDir,
    address: SocketAddr,
    settings: Vec<(String, String)>,
    child: Option<Child>,
}

/// The workspace that every real server has.
pub const WORKSPACE: &str = "field";

impl RealServer {
    /// Makes a data directory with one workspace; nothing runs yet.
    ///
    /// # Panics
    /// When the program fails.
    #[must_use]
    pub fn create() -> Self {
        Self::under("open")
    }

    /// As [`RealServer::create`], with another of the built-in policies.
    ///
    /// # Panics
    /// When the program fails.
    #[must_use]
    pub fn under(policy: &str) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory can be made");
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Self { data, address, settings: Vec::new(), child: None };
        server.command(&["workspace", "create", WORKSPACE, "--policy", policy]);
        server
    }

    /// Configures the server through its environment, from the next start on.
    #[must_use]
    pub fn with(mut self, variable: &str, value: impl Into<String>) -> Self {
        self.settings.push((variable.to_owned(), value.into()));
        self
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// The file of the workspace.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.data().join("workspaces").join(format!("{WORKSPACE}.db"))
    }

    /// Adds a member; the server does not run.
    ///
    /// # Panics
    /// When the program fails.
    #[must_use]
    pub fn add_member(&self, name: &str) -> MemberId {
        let id = self.command(&["member", "add", "--workspace", WORKSPACE, "--name", name]);
        id.trim().parse().expect("the program prints the member's id")
    }

    /// A token for a member.
    ///
    /// # Panics
    /// When the program fails.
    #[must_use]
    pub fn token(&self, member: MemberId) -> String {
        let member = member.to_string();
        let token = self.command(&["token", "--workspace", WORKSPACE, "--member", &member]);
        token.trim().to_owned()
    }

    /// Starts the server, on the port that it had before; gives its standard error.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(&mut self, failpoint: Option<&str>) -> ChildStderr {
        let mut child = self.spawn(failpoint);
        let stdout = child.stdout.take().expect("standard output is piped");
        let stderr = child.stderr.take().expect("standard error is piped");
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        let address = line.trim().strip_prefix("listening on ").and_then(|a| a.parse().ok());
        match (read, address) {
            (Ok(_), Some(address)) => self.address = address,
            _ => {
                let _ = child.kill();
                let mut text = String::new();
                let _ = BufReader::new(stderr).read_to_string(&mut text);
                panic!("the server did not start: {line}{text}");
            }
        }
        self.child = Some(child);
        stderr
    }

    /// Starts the server and kills it so soon, wherever it is by then.
    ///
    /// # Panics
    /// When the program is not there.
    pub fn start_and_kill(&self, after: Duration) {
        let mut child = self.spawn(None);
        kills::pause(after);
        child.kill().expect("an own child can be killed");
        child.wait().expect("an own child can be waited for");
    }

    fn spawn(&self, failpoint: Option<&str>) -> Child {
        let mut command = Command::new(binaries::path("sync-server"));
        command.arg("serve").arg("--data-dir").arg(self.data());
        command.args(["--listen", &self.address.to_string()]);
        command.env_remove("FIELDBOOK_FAILPOINT");
        command.envs(self.settings.iter().map(|(variable, value)| (variable, value)));
        if let Some(name) = failpoint {
            command.env("FIELDBOOK_FAILPOINT", name);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts")
    }

    /// Starts the server and lets a thread read its log, so that it never waits for a reader.
    pub fn start_quietly(&mut self) {
        let stderr = self.start(None);
        std::thread::spawn(move || BufReader::new(stderr).lines().for_each(drop));
    }

    /// Its address for devices.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Kills the server with SIGKILL and waits for its end.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the server runs");
        child.kill().expect("an own child can be killed");
        child.wait().expect("an own child can be waited for");
    }

    /// Asks the server to end, as an operator does, and waits for it.
    ///
    /// # Panics
    /// When it does not run, or does not end well.
    pub fn terminate(&mut self) {
        let mut child = self.child.take().expect("the server runs");
        let pid = child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(asked.expect("kill runs").success(), "the server cannot be asked");
        let ended = child.wait().expect("an own child can be waited for");
        assert!(ended.success(), "the server ended badly: {ended}");
    }

    /// Runs one command of the program on the data directory; gives its standard output.
    ///
    /// # Panics
    /// When the command fails.
    pub fn command(&self, arguments: &[&str]) -> String {
        let output = Command::new(binaries::path("sync-server"))
            .args(arguments)
            .arg("--data-dir")
            .arg(self.data())
            .stdin(Stdio::null())
            .output()
            .expect("the program runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "sync-server {arguments:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
