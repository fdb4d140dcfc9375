//! `sync-server workspace`: making and listing workspaces.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use crdt_core::policy::{OPEN, SALES};
use serde_json::json;
use sync_server::admin::{self, NewWorkspace};
use sync_server::config::ServerConfig;

use super::{Failure, Output, read_file, say, say_json, workspace_name};

#[derive(Subcommand)]
pub(crate) enum WorkspaceCommand {
    /// Make a new workspace
    Create {
        /// Its name: lower case letters, digits and `_`
        #[arg(value_parser = workspace_name)]
        name: String,
        /// Its schema; without one, the built-in CRM
        #[arg(long, value_name = "FILE")]
        schema: Option<PathBuf>,
        /// Who may see and do what: a file, or `sales` (rep, manager, support, admin, auditor), or `open`
        /// (every member, everything)
        #[arg(long, value_name = "FILE|sales|open", default_value = "sales")]
        policy: String,
    },
    /// List the workspaces of the data directory
    List {
        #[command(flatten)]
        output: Output,
    },
}

pub(super) fn run(config: &ServerConfig, command: WorkspaceCommand) -> Result<(), Failure> {
    match command {
        WorkspaceCommand::Create { name, schema, policy } => {
            let schema = schema.as_deref().map(read_file).transpose()?;
            let policy = match policy.as_str() {
                "sales" => (SALES.to_owned(), "sales".to_owned()),
                "open" => (OPEN.to_owned(), "open".to_owned()),
                file => read_file(Path::new(file))?,
            };
            Ok(admin::create_workspace(config, &name, NewWorkspace { schema, policy })?)
        }
        WorkspaceCommand::List { output } => {
            let names = admin::list_workspaces(config)?;
            if output.json {
                return say_json(&json!({ "workspaces": names }));
            }
            names.iter().try_for_each(|name| say(name))
        }
    }
}
