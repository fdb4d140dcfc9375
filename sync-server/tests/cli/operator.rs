//! An operator at a terminal: a data directory, and the real program.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

use serde_json::Value;

/// The workspace that commands are about.
pub const WORKSPACE: &str = "field";

/// Held by whoever starts a program, and alone by whoever has a workspace open in this process: a child has
/// its parent's open files, and their locks, until it becomes the program.
static STARTING: RwLock<()> = RwLock::new(());

fn spawned(command: &mut Command) -> Child {
    let _starting = STARTING.read().unwrap_or_else(PoisonError::into_inner);
    command.spawn().unwrap()
}

/// Keeps programs from being started while a workspace is open in this process.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    STARTING.write().unwrap_or_else(PoisonError::into_inner)
}

/// A data directory, and the server that holds it while one runs.
pub struct Operator {
    data: tempfile::TempDir,
    server: Option<Child>,
}

/// What a command came to.
#[derive(Debug)]
pub struct Said {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// The output of a command that succeeded.
    pub fn ok(self) -> String {
        assert_eq!(self.status, 0, "{self:?}");
        self.out
    }

    /// What a command complained about that its user has to correct.
    pub fn input_error(self) -> String {
        assert_eq!(self.status, 2, "{self:?}");
        assert!(self.err.starts_with("error: "), "{self:?}");
        self.err
    }

    /// What a command complained about that whoever runs the machine has to correct.
    pub fn machine_error(self) -> String {
        assert_eq!(self.status, 1, "{self:?}");
        self.err
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().expect("the program ended by itself"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Operator {
    /// An empty data directory.
    pub fn new() -> Self {
        Self { data: tempfile::tempdir().unwrap(), server: None }
    }

    /// One with a workspace under the `sales` policy.
    pub fn with_workspace() -> Self {
        let operator = Self::new();
        operator.run(&["workspace", "create", WORKSPACE]).ok();
        operator
    }

    /// Both ways in which a command can reach a workspace.
    pub fn with_and_without_a_server() -> [Self; 2] {
        let mut live = Self::with_workspace();
        live.start();
        [live, Self::with_workspace()]
    }

    pub fn data(&self) -> &Path {
        self.data.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.data().join("admin.sock")
    }

    pub fn database(&self) -> PathBuf {
        self.data().join("workspaces").join(format!("{WORKSPACE}.db"))
    }

    /// A text in a file of the data directory; its path.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.data().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sync-server"));
        command.args(arguments).arg("--data-dir").arg(self.data());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command.
    pub fn run(&self, arguments: &[&str]) -> Said {
        spawned(&mut self.command(arguments)).wait_with_output().unwrap().into()
    }

    /// Runs a command about the workspace.
    pub fn on(&self, arguments: &[&str]) -> Said {
        self.run(&[arguments, &["--workspace", WORKSPACE]].concat())
    }

    /// Runs a command that answers with JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.on(&[arguments, &["--json"]].concat()).ok()).unwrap()
    }

    /// Runs a command about the workspace and kills it at a failpoint; whether it came there.
    pub fn kill_at(&self, failpoint: &str, arguments: &[&str]) -> bool {
        let mut command = self.command(&[arguments, &["--workspace", WORKSPACE]].concat());
        let mut child = spawned(command.env("FIELDBOOK_FAILPOINT", failpoint));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let wanted = format!("failpoint {failpoint}");
        let came = lines.any(|line| line.unwrap().contains(&wanted));
        child.kill().unwrap();
        let ended = child.wait().unwrap();
        assert!(came || ended.success(), "{ended}");
        came
    }

    /// Another one with the same files; no server runs on them.
    pub fn copy(&self) -> Self {
        let copy = Self::new();
        copy_files(self.data(), copy.data());
        copy
    }

    /// Begins a command about the workspace, and feeds it a text.
    pub fn begin(&self, arguments: &[&str], input: &str) -> Child {
        let mut command = self.command(&[arguments, &["--workspace", WORKSPACE]].concat());
        let mut child = spawned(command.stdin(Stdio::piped()));
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child
    }

    /// Runs a command about the workspace on a text.
    pub fn feed(&self, arguments: &[&str], input: &str) -> Said {
        self.begin(arguments, input).wait_with_output().unwrap().into()
    }

    /// Adds a member with a role; its id.
    pub fn add(&self, name: &str, role: &str) -> String {
        self.on(&["member", "add", "--name", name, "--role", role]).ok().trim().to_owned()
    }

    /// Starts a server on the data directory.
    pub fn start(&mut self) {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut child = spawned(command.stderr(Stdio::null()));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening on "), "{line}");
        self.server = Some(child);
    }

    /// Ends the server as a crash does.
    pub fn crash(&mut self) {
        let mut child = self.server.take().expect("a server runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if let Some(mut child) = self.server.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            copy_files(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
