//! Which service and region a host of AWS is signed for: [`infer`].
//!
//! Hosts are read from their end: the partition's suffix, the region, the service, and before it
//! whatever is a customer's own, such as a bucket's name, which may look like anything.

use super::Region;
use super::names::{EVERYWHERE, GLOBAL, HOSTED, NAMES, REGION_FIRST};
use super::partition::{Partition, is_region};

/// What a host tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inferred {
    /// The service, as it is signed.
    pub service: Option<Box<str>>,
    /// The region.
    pub region: Option<Region>,
}

/// Whether a host is one of AWS.
pub fn is_aws(host: &str) -> bool {
    Partition::of_host(host).is_some()
}

/// What a host (lower case, without port) tells; nothing if it is none of AWS, or an unknown one.
pub fn infer(host: &str) -> Inferred {
    let Some((partition, suffix, name)) = Partition::of_host(host) else {
        return Inferred::default();
    };
    let mut labels: Vec<&str> = name.split('.').collect();
    if labels.last() == Some(&"vpce") {
        labels.pop();
        // The endpoint's own label and those before it, such as a bucket's, are a customer's.
        let own = labels.iter().rposition(|label| label.starts_with("vpce-"));
        labels.drain(..own.map_or(0, |at| at + 1));
    }
    match &*labels {
        [before @ .., region] if is_region(region) => match before {
            [] => Inferred::default(),
            _ => inferred(service(before), one(region)),
        },
        [.., region, last] if is_region(region) && look_up(REGION_FIRST, last).is_some() => {
            inferred(look_up(REGION_FIRST, last), one(region))
        }
        _ => without_region(&labels, partition, suffix),
    }
}

fn inferred(service: Option<&str>, region: Option<Region>) -> Inferred {
    let service = service.map(Box::from);
    Inferred { service, region }
}

fn one(region: &str) -> Option<Region> {
    Some(Region::One(region.into()))
}

/// Hosts of global services, and of S3 as it was before there were regions.
fn without_region(labels: &[&str], partition: &Partition, suffix: &str) -> Inferred {
    let Some(last) = labels.last() else {
        return Inferred::default();
    };
    let plain = plain(labels);
    if let Some(service) = ending(EVERYWHERE, &format!(".{plain}")) {
        return inferred(Some(service), Some(Region::Set("*".into())));
    }
    if suffix == "amazonaws.com" {
        match *last {
            "s3" | "s3-external-1" => return inferred(Some("s3"), one(partition.main)),
            "s3-accelerate" => return inferred(Some("s3"), None),
            "dualstack" if labels.ends_with(&["s3-accelerate", "dualstack"]) => {
                return inferred(Some("s3"), None);
            }
            _ => {}
        }
        let legacy = last.strip_prefix("s3-fips-").or(last.strip_prefix("s3-"));
        if let Some(region) = legacy.filter(|region| is_region(region)) {
            return inferred(Some("s3"), one(region));
        }
    }
    // Dual-stack hosts say so in words, as those without are not the partition's alone.
    let name = plain.strip_suffix(".global").unwrap_or(&plain);
    if suffix == "api.aws" && name == plain {
        return Inferred::default();
    }
    let service = look_up(GLOBAL, name);
    let region = match (service, partition.id) {
        (Some("iam"), "aws-cn") => "cn-north-1",
        _ => partition.main,
    };
    match service {
        Some(_) => inferred(service, one(region)),
        None => Inferred::default(),
    }
}

/// The service that labels before a region name.
fn service<'a>(labels: &[&'a str]) -> Option<&'a str> {
    let s3 = match labels {
        [before @ .., "dualstack"] => before.last(),
        _ => labels.last(),
    };
    if let Some(service) = s3.and_then(|label| s3_service(label)) {
        return Some(service);
    }
    let plain = plain(labels);
    if let Some(service) = look_up(NAMES, &plain).or_else(|| ending(HOSTED, &plain)) {
        return Some(service);
    }
    let mut own = labels.iter().filter(|label| **label != "fips");
    match (own.next(), own.next()) {
        (Some(label), None) => Some(without_fips(label)).filter(|label| is_service(label)),
        _ => None,
    }
}

fn s3_service(label: &str) -> Option<&'static str> {
    match without_fips(label) {
        "s3" | "s3-accesspoint" | "s3-control" => Some("s3"),
        "s3-object-lambda" => Some("s3-object-lambda"),
        "s3-outposts" => Some("s3-outposts"),
        label if label.starts_with("s3express-") => Some("s3express"),
        _ => None,
    }
}

/// Labels without what marks validated cryptography.
fn plain(labels: &[&str]) -> String {
    let labels = labels.iter().filter(|label| **label != "fips");
    let plain: Vec<_> = labels.map(|label| without_fips(label)).collect();
    plain.join(".")
}

fn without_fips(label: &str) -> &str {
    let label = label.strip_suffix("-fips").unwrap_or(label);
    label.strip_prefix("fips-").unwrap_or(label)
}

/// Whether a label can be the name of a service.
fn is_service(label: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    label.starts_with(|c: char| c.is_ascii_lowercase())
        && label.bytes().all(fits)
        && !label.starts_with("s3-website")
}

fn look_up(table: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    let at = table.binary_search_by_key(&name, |(name, _)| name).ok()?;
    Some(table[at].1)
}

/// The entry whose labels are the last of `name`.
fn ending(table: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    let (_, service) = table.iter().find(|(labels, _)| {
        let before = name.strip_suffix(labels);
        before.is_some_and(|before| before.ends_with('.'))
    })?;
    Some(service)
}

#[cfg(test)]
mod tests;
