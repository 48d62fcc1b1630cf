//! `keybearer external-id`: what a role's trust policy has to demand.

use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use http::Method;
use serde_json::json;

use super::remote::{Refused, Remote, run};
use super::{Global, UNUSABLE, complain, load, print};
use crate::auth::aws::external_id::Told;
use crate::auth::slot;

pub(super) fn external_id(global: &Global, scope: Option<&str>, json: bool) -> Result<ExitCode> {
    run(async {
        // The instance has the store to itself, so it is asked first.
        let told = match ask(global, scope).await {
            Ok(told) => told,
            Err(error) if error.is::<Refused>() => return Err(error),
            Err(unasked) => match open(global, scope, &unasked).await? {
                Some(told) => told,
                None => return Ok(ExitCode::from(UNUSABLE)),
            },
        };
        match json {
            true => print(pretty(&told)?.as_bytes())?,
            false => show(&told)?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn ask(global: &Global, scope: Option<&str>) -> Result<Told> {
    let remote = Remote::find(global)?;
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
            complain(&diagnostics.to_string());
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
    let policy = pretty(&told.trust_policy)?;
    print(format!("{}\n\n{policy}", told.external_id).as_bytes())?;
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

fn pretty(value: &impl serde::Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}
