//! Client certificates that come to their end: [`notices`] finds them, [`watch`] says so while the
//! process runs. They are used on, as it is the upstream's to refuse them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tracing::{error, warn};

use super::{Reader, Snapshot};
use crate::connection::Connection;
use crate::connection::identity::{Certificate, ClientIdentity, NOTICE};

/// How often what ends soon is said again.
const AGAIN: Duration = Duration::from_secs(24 * 3600);

/// How often the clock is looked at, which may be set meanwhile.
const LOOK: Duration = Duration::from_secs(60);

/// A client certificate that has ended, or ends soon.
#[derive(Debug)]
pub struct Notice {
    /// The connections that show it, in the order of their names.
    pub connections: Vec<Arc<str>>,
    /// The certificate of its chain that ends first.
    pub certificate: Certificate,
    days_left: i64,
    has_ended: bool,
}

/// A client certificate as it is told to machines.
#[derive(Debug, Serialize)]
pub struct Shown<'a> {
    subject: &'a str,
    issuer: &'a str,
    serial: &'a str,
    /// When the first of its chain ends, as RFC 3339 has it.
    pub not_after: String,
    /// Whole days until then; below zero once that is past.
    pub days_left: i64,
}

impl<'a> Shown<'a> {
    /// A connection's own, if it has one.
    pub fn of(connection: &'a Connection, now: SystemTime) -> Option<Self> {
        let identity = connection.tls.client.as_deref()?;
        let leaf = identity.leaf();
        Some(Self {
            subject: &leaf.subject,
            issuer: &leaf.issuer,
            serial: &leaf.serial,
            not_after: humantime::format_rfc3339_seconds(identity.not_after()).to_string(),
            days_left: identity.first_to_end().days_left(now),
        })
    }
}

/// What there is to be said at `now`: once for each certificate, however many connections show it.
pub fn notices<'a>(
    connections: impl Iterator<Item = &'a Arc<Connection>>,
    now: SystemTime,
) -> Vec<Notice> {
    let mut found: HashMap<&ClientIdentity, Notice> = HashMap::new();
    for connection in connections {
        let Some(identity) = connection.tls.client.as_deref() else {
            continue;
        };
        let left = identity.first_to_end().left(now);
        if left.is_none_or(|left| left < NOTICE) {
            let notice = found.entry(identity).or_insert_with(|| Notice {
                connections: Vec::new(),
                certificate: identity.first_to_end().clone(),
                days_left: identity.first_to_end().days_left(now),
                has_ended: left.is_none(),
            });
            notice.connections.push(Arc::clone(&connection.name));
        }
    }
    let mut found: Vec<_> = found.into_values().collect();
    for notice in &mut found {
        notice.connections.sort_unstable();
    }
    found.sort_unstable_by(|a, b| a.connections.cmp(&b.connections));
    found
}

/// Says it, and again once a day; and of each that ends, when it does. Never returns.
pub async fn watch(reader: Reader) {
    let mut looked = SystemTime::now();
    let mut said = looked;
    loop {
        let pause = pause(&reader.take(), looked);
        tokio::time::sleep(pause).await;
        let now = SystemTime::now();
        let is_due = now.duration_since(said).is_ok_and(|since| since >= AGAIN);
        let mut notices = notices(connections(&reader.take()), now);
        if is_due {
            said = now;
        } else {
            notices.retain(|notice| notice.has_ended && notice.certificate.not_after > looked);
        }
        notices.iter().for_each(Notice::log);
        looked = now;
    }
}

/// Says what there is to be said of a configuration that takes force.
pub(super) fn report(snapshot: &Snapshot) {
    let notices = notices(connections(snapshot), SystemTime::now());
    notices.iter().for_each(Notice::log);
}

fn connections(snapshot: &Snapshot) -> impl Iterator<Item = &Arc<Connection>> {
    snapshot.lives().map(|live| &live.connection)
}

/// Until the next one ends, or the clock is to be looked at.
fn pause(snapshot: &Snapshot, now: SystemTime) -> Duration {
    let identities = connections(snapshot).filter_map(|connection| connection.tls.client.as_ref());
    let left = identities.filter_map(|identity| identity.first_to_end().left(now));
    left.fold(LOOK, Duration::min)
}

impl Notice {
    fn log(&self) {
        let connections = self.connections.join(", ");
        let certificate = &self.certificate;
        let (subject, serial) = (&certificate.subject, &certificate.serial);
        let ends = humantime::format_rfc3339_seconds(certificate.not_after);
        if self.has_ended {
            error!(%connections, %subject, %serial, %ends, "Client certificate has expired");
        } else {
            let days_left = self.days_left;
            warn!(%connections, %subject, %serial, %ends, days_left, "Client certificate expires soon");
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connections = self.connections.join("`, `");
        let certificate = &self.certificate;
        match self.has_ended {
            true => write!(
                f,
                "the client certificate of `{connections}` has expired: {certificate}; renew it"
            ),
            false => write!(
                f,
                "the client certificate of `{connections}` expires in less than {} days: {certificate}; renew it",
                self.days_left + 1
            ),
        }
    }
}
