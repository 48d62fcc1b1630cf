//! What `keybearer check` tells of an endpoint for webhooks.

use serde::Serialize;

use super::{SecretLine, hanging, listed};
use crate::cli::output::{STRONG, painted};
use crate::connection::webhook::{Endpoint, Order};

/// An endpoint.
#[derive(Serialize)]
pub(super) struct EndpointLine<'a> {
    name: &'a str,
    target: String,
    verify: &'static str,
    ordered: bool,
    secrets: Vec<SecretLine>,
}

impl<'a> EndpointLine<'a> {
    pub(super) fn of(endpoint: &'a Endpoint) -> Self {
        let secrets = endpoint.secrets().into_iter();
        Self {
            name: &endpoint.name,
            target: endpoint.target.to_string(),
            verify: endpoint.verify.kind,
            ordered: endpoint.order == Order::Arrival,
            secrets: secrets
                .map(|(key, secret)| SecretLine {
                    key: key.to_owned(),
                    from: secret.origin().to_string(),
                })
                .collect(),
        }
    }

    pub(super) fn text(&self, width: Option<usize>) -> String {
        let Self {
            name,
            target,
            verify,
            ..
        } = self;
        let way = format!(
            "webhooks -> {target}, verify {verify}{}",
            listed(&self.secrets)
        );
        hanging(&format!("{}: ", painted(STRONG, name)), &way, width)
    }
}
