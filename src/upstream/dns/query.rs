//! One lookup of a name: [`query`].

use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{TokioResolver, lookup::Lookup};
use tokio::time::{Instant, sleep_until};

use super::system::System;

/// For how long the slower of the two families is waited for (RFC 8305 section 3).
const DELAY: Duration = Duration::from_millis(50);

/// For how long an answer is used in which a family is missing that may be there.
const PARTIAL: Duration = Duration::from_secs(5);

/// The addresses of a name, and for how long that may be taken for granted.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ttl: Duration,
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// It cannot be found out at present.
    #[error("{0}")]
    Failed(String),
    /// It has none, says who knows.
    #[error("{0}")]
    Nothing(&'static str),
}

/// Asks for a name; where it has few dots, or is not found, below the search domains, too.
pub(super) async fn query(system: &System, name: &str) -> Result<Found, Unresolved> {
    let asker = system.asker()?;
    let mut worst = Unresolved::Nothing("there is no such name");
    for candidate in system.candidates(name) {
        match both_families(asker, candidate).await {
            Ok(found) => return Ok(found),
            Err(failed @ Unresolved::Failed(_)) => worst = failed,
            Err(nothing) if matches!(worst, Unresolved::Nothing(_)) => worst = nothing,
            Err(_) => {}
        }
    }
    Err(match worst {
        Unresolved::Nothing(_) if is_multicast(name) => Unresolved::Nothing(
            "no DNS server knows it; if it is a name of multicast DNS, which keybearer does not speak, write it into /etc/hosts",
        ),
        worst => worst,
    })
}

/// Whether it may be one (RFC 6762 section 3); DNS has such names, too, as those of Kubernetes.
fn is_multicast(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let top = name.rsplit('.').next().unwrap_or_default();
    top.eq_ignore_ascii_case("local")
}

/// Asks for IPv6 and IPv4 addresses at the same time.
async fn both_families(asker: &TokioResolver, name: Name) -> Result<Found, Unresolved> {
    let mut six = pin!(asker.lookup(name.clone(), RecordType::AAAA));
    let mut four = pin!(asker.lookup(name, RecordType::A));
    let (mut sixes, mut fours) = (None, None);
    let mut enough = None;
    while sixes.is_none() || fours.is_none() {
        let until = enough.unwrap_or_else(Instant::now);
        tokio::select! {
            found = &mut six, if sixes.is_none() => sixes = Some(addresses(found)),
            found = &mut four, if fours.is_none() => fours = Some(addresses(found)),
            () = sleep_until(until), if enough.is_some() => break,
        }
        if matches!((&sixes, &fours), (Some(Ok(_)), _) | (_, Some(Ok(_)))) {
            enough.get_or_insert_with(|| Instant::now() + DELAY);
        }
    }
    joined(sixes, fours)
}

type Family = Option<Result<Found, Unresolved>>;

fn joined(sixes: Family, fours: Family) -> Result<Found, Unresolved> {
    let is_sure = |family: &Family| matches!(family, Some(Ok(_) | Err(Unresolved::Nothing(_))));
    let cap = match is_sure(&sixes) && is_sure(&fours) {
        true => Duration::MAX,
        false => PARTIAL,
    };
    match (sixes, fours) {
        (Some(Ok(mut sixes)), Some(Ok(fours))) => {
            sixes.addresses.extend(fours.addresses);
            sixes.ttl = sixes.ttl.min(fours.ttl);
            Ok(sixes)
        }
        (Some(Ok(found)), _) | (_, Some(Ok(found))) => Ok(Found {
            ttl: found.ttl.min(cap),
            ..found
        }),
        (Some(Err(failed @ Unresolved::Failed(_))), _)
        | (_, Some(Err(failed @ Unresolved::Failed(_)))) => Err(failed),
        (Some(Err(nothing)), _) | (_, Some(Err(nothing))) => Err(nothing),
        // The loop ends with one of them at least.
        (None, None) => Err(Unresolved::Failed("nobody answered".to_owned())),
    }
}

fn addresses(found: Result<Lookup, NetError>) -> Result<Found, Unresolved> {
    let lookup = found.map_err(|error| in_words(&error))?;
    let records = lookup.answers().iter();
    let addresses: Vec<_> = records.filter_map(|record| record.data.ip_addr()).collect();
    // Of aliases on the way, too.
    let ttl = lookup.answers().iter().map(|record| record.ttl).min();
    match addresses.is_empty() {
        true => Err(Unresolved::Nothing("the name has no address")),
        false => Ok(Found {
            addresses,
            ttl: Duration::from_secs(ttl.unwrap_or_default().into()),
        }),
    }
}

fn in_words(error: &NetError) -> Unresolved {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => Unresolved::Nothing("there is no such name"),
            ResponseCode::NoError => Unresolved::Nothing("the name has no address"),
            code => said(code),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => said(*code),
        NetError::Timeout => Unresolved::Failed("no DNS server answered in time".to_owned()),
        NetError::NoConnections => Unresolved::Failed("no DNS server can be reached".to_owned()),
        other => Unresolved::Failed(format!("no DNS server answered: {other}")),
    }
}

fn said(code: ResponseCode) -> Unresolved {
    Unresolved::Failed(format!("the DNS server answered `{}`", code.to_str()))
}
