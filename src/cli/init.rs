//! `keybearer init`: a first configuration, by questions or by options.

mod draft;
mod keep;
mod kinds;
mod questions;
mod steps;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::builder::PossibleValuesParser;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use self::draft::{Draft, Place};
use self::kinds::{Key, Kind, Need, SecretField};
use self::questions::Stopped;
use super::Global;
use super::output::{self, complain, is_watched, print_json};
use crate::config::is_variable_name;

/// Where the file is written if nothing else is said: the first of the usual places.
const OUTPUT: &str = "keybearer.toml";

/// As a shell ends what Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// What is known beforehand.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The connection's name, as in `jira`
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The API's base URL, as in https://example.atlassian.net/rest/api/3
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// How the API authenticates
    #[arg(long, value_name = "TYPE", value_parser = PossibleValuesParser::new(kinds::names()))]
    auth: Option<String>,
    /// The path by which apps call it [default: the name after a `/`]
    #[arg(long, value_name = "PATH")]
    prefix: Option<String>,
    /// The environment variable that has the secret [default: by the name, as in JIRA_TOKEN]
    #[arg(long, value_name = "VARIABLE", conflicts_with = "secret_file")]
    secret_env: Option<String>,
    /// The file that has the secret, by its path from the configuration's folder
    #[arg(long, value_name = "FILE")]
    secret_file: Option<String>,
    /// basic: the user name
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// header, custom: the field's name [default: X-Api-Key]
    #[arg(long, value_name = "NAME")]
    header: Option<String>,
    /// query: the parameter's name [default: api_key]
    #[arg(long, value_name = "NAME")]
    param: Option<String>,
    /// oauth2_…: the token endpoint
    #[arg(long, value_name = "URL")]
    token_url: Option<String>,
    /// oauth2_authorization_code: the authorization endpoint
    #[arg(long, value_name = "URL")]
    authorization_url: Option<String>,
    /// oauth2_…, azure_…: the client's ID
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// oauth2_…, azure_…: a scope; any number of times
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// oauth2_jwt_bearer: whom the provider knows the key by
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// oauth2_jwt_bearer: whom to act for
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// azure_…: the directory's GUID, or a domain of it
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// aws_access_key: the ID of the key, which is no secret
    #[arg(long, value_name = "ID")]
    access_key_id: Option<String>,
    /// aws_iam_role: the role
    #[arg(long, value_name = "ARN")]
    role_arn: Option<String>,
    /// aws_…: the service that is signed for [default: by the host of the base URL]
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// aws_…: the region [default: by the host of the base URL]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// The file to write [default: --config, or ./keybearer.toml]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    /// Print JSON: what was written, and what to do next
    #[arg(long)]
    json: bool,
}

pub(super) fn init(global: &Global, arguments: &Arguments) -> Result<ExitCode> {
    let output = arguments.output.as_ref().or(global.config.as_ref());
    let path = output.map_or(Path::new(OUTPUT), PathBuf::as_path);
    // Before anybody has answered a question.
    keep::ready(path, arguments.force)?;
    arguments.fit()?;
    let missing = arguments.missing();
    let draft = if missing.is_empty() {
        arguments.draft()
    } else if std::io::stdin().is_terminal() && is_watched() {
        match asked(arguments, path) {
            Err(error) if error.is::<Stopped>() => {
                output::error(&error);
                return Ok(ExitCode::from(INTERRUPTED));
            }
            asked => asked?,
        }
    } else {
        bail!(
            "there is no terminal to ask at; give {} as well (`keybearer init --help` has examples)",
            missing.join(", ")
        );
    };
    if let Some(Place::Env(name)) = &draft.secret
        && is_perhaps_secret(name)
    {
        bail!(
            "nothing was written: a secret is named by its environment variable, and what was given looks like the secret itself; put that into a variable such as {}, and give its name",
            draft.usual_variable().unwrap_or_default()
        );
    }
    let pending = keep::keep(&draft, path, arguments.force)?;
    let steps = steps::of(&draft, path, &pending);
    if arguments.json {
        let steps: Vec<_> = steps.iter().map(steps::Step::json).collect();
        print_json(&json!({
            "path": path.display().to_string(),
            "connection": draft.name,
            "base_url": draft.base_url,
            "prefix": draft.prefix(),
            "auth": draft.kind.map(|kind| kind.name),
            "pending": pending,
            "next": steps,
        }))?;
    } else {
        complain(&format!("{} is written. Next:", path.display()));
        complain(&steps::text(&steps));
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks at the terminal.
fn asked(arguments: &Arguments, path: &Path) -> Result<Draft> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _entered = runtime.enter();
    // Ctrl-C ends the question with an error, and not this process with a hidden cursor.
    let _interrupt = signal(SignalKind::interrupt()).context("signals cannot be listened for")?;
    let what = "A first configuration: a few questions, Ctrl-C to stop.";
    complain(what);
    questions::ask(arguments, path)
}

/// Whether the name of a variable is more likely what should be in one: there is no such variable, and
/// tokens look like that.
fn is_perhaps_secret(name: &str) -> bool {
    let has = |is: fn(&u8) -> bool| name.as_bytes().iter().any(is);
    name.len() >= 16
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_digit)
        && std::env::var_os(name).is_none()
}

/// The environment variable that a secret usually stands in.
fn usual_variable(name: &str, secret: &SecretField) -> String {
    let letter = |c: char| match c {
        c if c.is_ascii_alphanumeric() => c.to_ascii_uppercase(),
        _ => '_',
    };
    let name: String = name.chars().map(letter).collect();
    let variable = format!("{name}_{}", secret.suffix);
    match is_variable_name(&variable) {
        true => variable,
        false => format!("_{variable}"),
    }
}

// === impl Arguments ===

impl Arguments {
    fn kind(&self) -> Option<&'static Kind> {
        self.auth.as_deref().and_then(kinds::of)
    }

    /// Where the secret is said to be.
    fn place(&self) -> Option<Place> {
        let env = self.secret_env.clone().map(Place::Env);
        env.or_else(|| self.secret_file.clone().map(Place::File))
    }

    /// Refuses options that say nothing with this type.
    fn fit(&self) -> Result<()> {
        let Some(kind) = self.kind() else {
            return Ok(());
        };
        let takes = |key: Key| kind.fields.iter().any(|field| field.key == key);
        let given = Key::ALL.into_iter().filter(|key| key.given(self).is_some());
        let mut wrong: Vec<_> = given.filter(|key| !takes(*key)).map(Key::option).collect();
        if kind.secret.is_none() && self.place().is_some() {
            wrong.push("--secret-env and --secret-file");
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let own: Vec<_> = kind.fields.iter().map(|field| field.key.option()).collect();
        let own = match (own.is_empty(), &kind.secret) {
            (true, _) => "none of its own".to_owned(),
            (false, _) => own.join(", "),
        };
        bail!(
            "type `{}` has no use for {}; the options that it takes are {own}",
            kind.name,
            wrong.join(", ")
        )
    }

    /// The options without which there is nothing to write.
    fn missing(&self) -> Vec<&'static str> {
        let given = [
            (self.name.is_some(), "--name"),
            (self.base_url.is_some(), "--base-url"),
            (self.auth.is_some(), "--auth"),
        ];
        let fields = self.kind().map_or(&[][..], |kind| kind.fields);
        let required = fields.iter().filter(|field| field.need == Need::Required);
        let required = required.map(|field| (field.key.given(self).is_some(), field.key.option()));
        let all = given.into_iter().chain(required);
        all.filter_map(|(is_given, option)| (!is_given).then_some(option))
            .collect()
    }

    /// What the options say alone; what is missing is empty.
    fn draft(&self) -> Draft {
        let kind = self.kind();
        let name = self.name.clone().unwrap_or_default();
        let fields = kind.map_or(&[][..], |kind| kind.fields);
        let value = |field: &kinds::Field| {
            let usual = match field.need {
                Need::Default(usual) => Some(usual.to_owned()),
                Need::Optional | Need::Required => None,
            };
            Some((field.key, field.key.given(self).or(usual)?))
        };
        let secret = kind.and_then(|kind| kind.secret.as_ref());
        let usual = secret.map(|secret| Place::Env(usual_variable(&name, secret)));
        let prefix = self.prefix.clone();
        Draft {
            base_url: self.base_url.clone().unwrap_or_default(),
            prefix: prefix.filter(|prefix| *prefix != format!("/{name}")),
            fields: fields.iter().filter_map(value).collect(),
            secret: self.place().or(usual).filter(|_| secret.is_some()),
            kind,
            name,
        }
    }
}
