//! `sync-server member`: the workspace's directory.

use std::io::{self, BufRead as _};

use clap::{Args, Subcommand};
use crdt_core::id::MemberId;
use sync_server::admin::{AdminReply, AdminRequest, MemberFields, MemberLine, Secret};
use sync_server::config::ServerConfig;
use sync_server::identity::member_of;

use super::table::{Table, or_dash};
use super::{Failure, Output, Target, ask, machine, say, say_json, unexpected, warn};

#[derive(Subcommand)]
pub(crate) enum MemberCommand {
    /// Add a member and print its id
    Add {
        #[command(flatten)]
        target: Target,
        /// The member's id; without it, a new one
        #[arg(long, value_name = "UUID", conflicts_with = "identity")]
        id: Option<MemberId>,
        /// Who the member is at an identity provider: its tokens' `iss`, a bar, and `sub`
        #[arg(long, value_name = "ISS|SUB", value_parser = identity)]
        identity: Option<MemberId>,
        #[command(flatten)]
        fields: FieldArgs,
        /// The name to log in with, for a member without an identity provider
        #[arg(long, requires = "password_stdin")]
        login: Option<String>,
        /// Read the password from the first line of standard input
        #[arg(long, requires = "login")]
        password_stdin: bool,
    },
    /// Change what the directory says of a member; takes effect at once
    Set {
        #[command(flatten)]
        target: Target,
        /// The member's id
        id: MemberId,
        #[command(flatten)]
        fields: FieldArgs,
    },
    /// Shut a member out: sessions end, nothing is taken from its devices any more
    Disable {
        #[command(flatten)]
        target: Target,
        /// The member's id
        id: MemberId,
    },
    /// Let a member in again
    Enable {
        #[command(flatten)]
        target: Target,
        /// The member's id
        id: MemberId,
    },
    /// List the members
    List {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        output: Output,
    },
    /// Give a member a local account, or its account a new password
    Password {
        #[command(flatten)]
        target: Target,
        /// The member's id
        id: MemberId,
        /// The name to log in with
        #[arg(long)]
        login: String,
        /// Read the password from the first line of standard input
        #[arg(long, required = true)]
        password_stdin: bool,
    },
}

/// What the directory says of a member.
#[derive(Args)]
pub(crate) struct FieldArgs {
    /// The name, for people to read
    #[arg(long)]
    name: Option<String>,
    /// The role, as the policy names it
    #[arg(long)]
    role: Option<String>,
    /// A territory; repeat it for more, give it empty for none
    #[arg(long = "territory", value_name = "TERRITORY")]
    territories: Vec<String>,
    /// A team; repeat it for more, give it empty for none
    #[arg(long = "team", value_name = "TEAM")]
    teams: Vec<String>,
    /// The region; empty for none
    #[arg(long)]
    region: Option<String>,
    /// The e-mail address
    #[arg(long)]
    email: Option<String>,
}

impl From<FieldArgs> for MemberFields {
    fn from(args: FieldArgs) -> Self {
        let list = |given: Vec<String>| {
            (!given.is_empty()).then(|| given.into_iter().filter(|name| !name.is_empty()).collect())
        };
        Self {
            name: args.name,
            role: args.role,
            territories: list(args.territories),
            teams: list(args.teams),
            region: args.region,
            email: args.email,
        }
    }
}

fn identity(text: &str) -> Result<MemberId, &'static str> {
    match text.split_once('|') {
        Some((issuer, subject)) if !issuer.is_empty() && !subject.is_empty() => {
            Ok(member_of(issuer, subject))
        }
        _ => Err("an identity is the provider's `iss`, a bar, and the person's `sub`"),
    }
}

pub(super) fn run(config: &ServerConfig, command: MemberCommand) -> Result<(), Failure> {
    match command {
        MemberCommand::Add { target, id, identity, fields, login, .. } => {
            add(config, &target, id.or(identity), fields.into(), login)
        }
        MemberCommand::Set { target, id, fields } => {
            let fields = MemberFields::from(fields);
            if fields == MemberFields::default() {
                let text = "nothing to change; give --role, --territory or another field";
                return Err(Failure::Input(text.to_owned()));
            }
            done(config, &target, AdminRequest::SetMember { id, fields })
        }
        MemberCommand::Disable { target, id } => {
            done(config, &target, AdminRequest::SetActive { id, active: false })
        }
        MemberCommand::Enable { target, id } => {
            done(config, &target, AdminRequest::SetActive { id, active: true })
        }
        MemberCommand::List { target, output } => {
            match ask(config, &target, AdminRequest::ListMembers)? {
                AdminReply::Members(members) if output.json => say_json(&members),
                AdminReply::Members(members) => say(&table(&members)),
                other => Err(unexpected(&other)),
            }
        }
        MemberCommand::Password { target, id, login, .. } => {
            let password = password_from_stdin()?;
            done(config, &target, AdminRequest::SetPassword { id, login, password })
        }
    }
}

fn add(
    config: &ServerConfig,
    target: &Target,
    id: Option<MemberId>,
    fields: MemberFields,
    login: Option<String>,
) -> Result<(), Failure> {
    if fields.name.is_none() {
        let text = "a member needs a name, for people to read: --name";
        return Err(Failure::Input(text.to_owned()));
    }
    // Before anything is added: a command without a password adds nobody.
    let account = login.map(|login| password_from_stdin().map(|password| (login, password)));
    let account = account.transpose()?;
    let (id, without_admin) = match ask(config, target, AdminRequest::AddMember { id, fields })? {
        AdminReply::Added { id, without_admin } => (id, without_admin),
        other => return Err(unexpected(&other)),
    };
    say(&id.to_string())?;
    if without_admin {
        warn(&format!(
            "no member may administer the workspace; make one an administrator with \
             `sync-server member set --workspace {} ID --role admin`",
            target.workspace
        ));
    }
    let Some((login, password)) = account else { return Ok(()) };
    let request = AdminRequest::SetPassword { id, login, password };
    done(config, target, request).inspect_err(|_| {
        warn("the member was added, without an account; give it one with `sync-server member password`");
    })
}

fn done(config: &ServerConfig, target: &Target, request: AdminRequest) -> Result<(), Failure> {
    match ask(config, target, request)? {
        AdminReply::Done => Ok(()),
        other => Err(unexpected(&other)),
    }
}

fn password_from_stdin() -> Result<Secret, Failure> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(machine)?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        let text = "standard input holds no password on its first line";
        return Err(Failure::Input(text.to_owned()));
    }
    Ok(Secret(password.to_owned()))
}

fn table(members: &[MemberLine]) -> String {
    let headings = ["id", "name", "role", "territories", "teams", "region", "state"];
    let mut table = Table::new(&headings);
    for line in members {
        table.row([
            line.id.to_string(),
            line.name.clone(),
            or_dash(line.role.clone()),
            or_dash(Some(line.territories.join(" "))),
            or_dash(Some(line.teams.join(" "))),
            or_dash(line.region.clone()),
            if line.active { "active" } else { "disabled" }.to_owned(),
        ]);
    }
    table.text()
}
