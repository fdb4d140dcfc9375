//! `sync-server policy`: checking, showing and putting in force.

use std::path::PathBuf;

use clap::Subcommand;
use crdt_core::policy::Policy;
use crdt_core::schema::Schema;
use sync_server::admin::{AdminReply, AdminRequest};
use sync_server::config::ServerConfig;

use super::{Failure, Target, ask, read_file, say, unexpected, workspace_name};

#[derive(Subcommand)]
pub(crate) enum PolicyCommand {
    /// Say everything that is wrong with a policy
    Check {
        /// The policy
        file: PathBuf,
        /// Check it against this workspace's schema; without it, against the built-in one
        #[arg(long, short, value_parser = workspace_name)]
        workspace: Option<String>,
    },
    /// Put a policy in force; its version must be higher than that of the one in force
    Set {
        #[command(flatten)]
        target: Target,
        /// The policy
        file: PathBuf,
    },
    /// Print the policy in force
    Show {
        #[command(flatten)]
        target: Target,
    },
}

pub(super) fn run(config: &ServerConfig, command: PolicyCommand) -> Result<(), Failure> {
    match command {
        PolicyCommand::Check { file, workspace } => {
            let (text, file) = read_file(&file)?;
            match workspace {
                None => {
                    let policy = Policy::parse(&text, &file, Schema::builtin());
                    policy.map_err(|problems| Failure::Input(problems.to_string()))?;
                }
                Some(workspace) => {
                    let request = AdminRequest::CheckPolicy { text, file };
                    ask(config, &Target { workspace }, request)?;
                }
            }
            say("the policy is fine")
        }
        PolicyCommand::Set { target, file } => {
            let (text, file) = read_file(&file)?;
            match ask(config, &target, AdminRequest::SetPolicy { text, file })? {
                AdminReply::Policy { version, .. } => {
                    say(&format!("policy version {version} is in force"))
                }
                other => Err(unexpected(&other)),
            }
        }
        PolicyCommand::Show { target } => match ask(config, &target, AdminRequest::ShowPolicy)? {
            AdminReply::Policy { text, .. } => say(text.trim_end()),
            other => Err(unexpected(&other)),
        },
    }
}
