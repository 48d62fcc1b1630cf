//! A draft, tried: in force for one request alone, with pools, tokens and counters of its own that end
//! with it.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::check::Ready;
use super::draft::Wanted;
use crate::auth::aws::external_id::ExternalIds;
use crate::auth::courier::Courier;
use crate::auth::credentials::Credentials;
use crate::config::{Config, Edit, Store};
use crate::connection::Connection;
use crate::connection::auth::Auth;
use crate::connection::aws::{ExternalId, Source};
use crate::connection::oauth2::Grant;
use crate::console::Console;
use crate::live::{self, Parts};
use crate::metrics::Metrics;
use crate::proxy::Proxy;
use crate::proxy::trial::{Ask, Trial};
use crate::traces::Traces;
use crate::upstream::Upstreams;

/// The request by which a draft is tried.
///
/// # Errors
/// It cannot be sent, or not by whoever may not edit.
pub(super) fn ask(wanted: &Wanted, ready: &Ready, edit: Edit) -> Result<Ask, String> {
    let mut ask = match (&wanted.method, &wanted.path) {
        (None, None) => Ask::harmless(&ready.connection),
        (method, path) => Ask::new(
            method.as_deref().unwrap_or("GET"),
            path.as_deref().unwrap_or_default(),
        )
        .map_err(|error| error.to_string())?,
    };
    let (method, _) = ask.parts();
    if edit == Edit::Refused && !["GET", "HEAD", "OPTIONS"].contains(&method) {
        return Err(
            "a draft is tried by GET, HEAD or OPTIONS, unless `allow_edit = true` in `[admin]`"
                .to_owned(),
        );
    }
    ask.sends &= wanted.send.unwrap_or(true);
    Ok(ask)
}

/// Sends a request through a draft.
///
/// # Errors
/// It cannot be built, though its configuration is good.
pub(super) async fn run(console: &Console, ready: Ready, ask: &Ask) -> Result<Trial, String> {
    let Ready {
        config,
        mut connection,
    } = ready;
    resolve_external_ids(console, &mut connection).await?;
    tracing::info!(connection = %connection.name, base_url = %connection.base_url, "Draft tried");
    let config = Config {
        connections: vec![Arc::clone(&connection)],
        // There is no page on which a draft could be linked.
        admin: None,
        ..config
    };
    let metrics = Metrics::new().map_err(|error| error.to_string())?;
    let upstreams = Arc::new(Upstreams::behind(Arc::clone(&console.agents)));
    // Nothing that is stored is for a draft: tokens of its name may be from another connection's time.
    let credentials = Arc::new(Credentials::new(
        Handle::current(),
        Arc::clone(&upstreams),
        metrics.clone(),
        Store::Memory,
        Courier::default(),
    ));
    let parts = Parts {
        upstreams,
        credentials,
        metrics: metrics.clone(),
        // A draft is nobody's request.
        traces: Traces::default(),
    };
    let reader = live::apart(&config, &parts).map_err(|error| error.to_string())?;
    let live = reader.take().live(&connection.name).cloned();
    let Some(live) = live else {
        return Err("it is not in force".to_owned());
    };
    let credential = live.authenticator.credential().cloned();
    if let Some(credential) = &credential {
        credential.begin();
    }
    let mut trial = Trial::run(&Proxy::new(reader, &metrics), &live, ask).await;
    if let Some(credential) = credential {
        credential.value.retire();
    }
    if needs_person(&connection) && trial.phases.iter().all(|step| step.phase != "credential") {
        let lacks = |failure: &String| failure.starts_with("no credential");
        if trial.failure.as_ref().is_some_and(lacks) {
            let text = "the upstream can be reached; what comes next is a person's consent, for which the connection has to be in the configuration: write it there, then link it";
            trial.failure = Some(text.to_owned());
        }
    }
    Ok(trial)
}

fn needs_person(connection: &Connection) -> bool {
    match &connection.auth {
        Auth::OAuth2(oauth2) => matches!(oauth2.grant, Grant::AuthorizationCode(_)),
        _ => false,
    }
}

/// Puts this deployment's external IDs in place of their names, as its roles demand those.
async fn resolve_external_ids(
    console: &Console,
    connection: &mut Arc<Connection>,
) -> Result<(), String> {
    let Auth::Aws(aws) = &connection.auth else {
        return Ok(());
    };
    let generated = |id: &ExternalId| matches!(id, ExternalId::Generated(_));
    if !aws.source.roles().any(|role| generated(&role.external_id)) {
        return Ok(());
    }
    let credentials = Arc::clone(&console.credentials);
    // It may have to open the store.
    let ids = tokio::task::spawn_blocking(move || credentials.external_ids()).await;
    let ids: ExternalIds = ids
        .map_err(|error| error.to_string())?
        .map_err(|error| format!("its external ID cannot be had: {error}"))?;
    let mut told = Connection::clone(connection);
    let Auth::Aws(aws) = &mut told.auth else {
        return Ok(());
    };
    let mut source = &mut aws.source;
    while let Source::Role(role) = source {
        let id = ids.resolve(&role.external_id).await;
        role.external_id = match id.map_err(|fault| fault.detail)? {
            Some(id) => ExternalId::Given(id),
            None => ExternalId::None,
        };
        source = &mut role.source;
    }
    *connection = Arc::new(told);
    Ok(())
}
