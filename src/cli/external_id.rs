//! `keybearer external-id`: what a role's trust policy has to demand.

use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use http::Method;
use serde_json::json;

use super::output::{complain, print, print_json};
use super::progress::Progress;
use super::remote::{Patience, Refused, Remote, Unasked, run};
use super::{Global, UNUSABLE, load, reject};
use crate::auth::aws::external_id::Told;
use crate::auth::slot;
use crate::connection::aws::{ExternalId, InvalidExternalId};

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Wanted {
    /// The ID of this scope (external_id = { scope = "NAME" }), not the whole deployment's
    #[arg(long, value_name = "NAME", value_parser = scope)]
    scope: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    patience: Patience,
}

pub(super) fn external_id(global: &Global, wanted: &Wanted) -> Result<ExitCode> {
    let scope = wanted.scope.as_deref();
    run(async {
        let progress = Progress::new("Asking the running instance");
        // The instance has the store to itself, so it is asked first.
        let told = match ask(global, &wanted.patience, scope).await {
            Ok(told) => told,
            Err(error) if is_refused(&error) => return Err(error),
            Err(unasked) => match open(global, scope, &unasked).await? {
                Some(told) => told,
                None => return Ok(ExitCode::from(UNUSABLE)),
            },
        };
        drop(progress);
        match wanted.json {
            true => print_json(&told)?,
            false => show(&told)?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The name of a scope.
fn scope(text: &str) -> Result<String, InvalidExternalId> {
    ExternalId::of_scope(text).map(|_| text.to_owned())
}

/// Whether an instance is there, and does not tell.
fn is_refused(error: &anyhow::Error) -> bool {
    error.is::<Refused>() || Unasked::is_refusal(error)
}

async fn ask(global: &Global, patience: &Patience, scope: Option<&str>) -> Result<Told> {
    let remote = Remote::find(global, patience)?;
    let wanted = json!({ "scope": scope });
    let told = remote
        .ask(Method::POST, "/api/external-id", Some(&wanted))
        .await?;
    Ok(serde_json::from_value(told)?)
}

/// By the store itself, while nothing runs; none if the configuration is invalid, which was told.
async fn open(
    global: &Global,
    scope: Option<&str>,
    unasked: &anyhow::Error,
) -> Result<Option<Told>> {
    let config = match load(global)? {
        Ok(found) => found.config,
        Err(diagnostics) => {
            reject(&diagnostics);
            return Ok(None);
        }
    };
    let ids = match slot::external_ids(&config.store) {
        Ok(ids) => ids,
        Err(error) => bail!("{error} (no running instance was found: {unasked:#})"),
    };
    let told = Told::of(scope, &ids, &config.connections).await;
    told.map(Some).map_err(|fault| anyhow!(fault.detail))
}

/// The ID, an empty line, the policy; and to the person what to do with them.
fn show(told: &Told) -> Result<()> {
    let policy = serde_json::to_string_pretty(&told.trust_policy)?;
    print(format!("{}\n\n{policy}\n", told.external_id).as_bytes())?;
    complain(
        "\nThis is the trust policy of each role that is assumed with this ID. Put the ARN of the user or role\nwhose keys keybearer has in place of the principal; `aws sts get-caller-identity` tells it.",
    );
    if told.roles.is_empty() {
        complain("No connection has a role that is assumed with it yet.");
    } else {
        complain("The roles, and the connections that use them:");
        for role in &told.roles {
            complain(&format!("  {}  {}", role.role_arn, role.connection));
        }
    }
    Ok(())
}
