//! `auth` of the AWS types: whose keys sign requests, for which service and region, and how content is
//! covered.

mod access_key;
mod role;

use super::auth::Target;
use super::host::is_loopback;
use super::secret::Secrets;
use crate::config::fault::Fault;
use crate::config::section::Section;
use crate::connection::aws::host::{Inferred, infer, is_aws};
use crate::connection::aws::partition::is_region;
use crate::connection::aws::{Aws, Payload, Region, Source, is_s3};
use crate::connection::url::{BaseUrl, Destination, Scheme};

/// The credential of an `auth` table whose `type` is `kind`; none if it was reported.
pub(super) fn aws<'a>(
    section: &Section<'a>,
    kind: &str,
    secrets: &Secrets<'a>,
    target: &Target<'_>,
) -> Option<Aws> {
    let compiler = Compiler { secrets, target };
    let inferred = target.host().map(infer).unwrap_or_default();
    let service = compiler.service(section, inferred.service.as_deref());
    let region = compiler.region(section, inferred);
    let payload = compiler.payload(section, service.as_deref(), region.as_ref());
    let (kind, source) = match kind {
        "aws_access_key" => {
            let key = compiler.access_key(section, "type `aws_access_key`");
            ("aws_access_key", key.map(Source::AccessKey))
        }
        _ => {
            let role = compiler.role(section, region.as_ref(), 1);
            let role = role.map(|role| Source::Role(Box::new(role)));
            ("aws_iam_role", role)
        }
    };
    Some(Aws {
        kind,
        service: service?,
        region: region?,
        payload,
        source: source?,
    })
}

struct Compiler<'s, 'a> {
    secrets: &'s Secrets<'a>,
    target: &'s Target<'s>,
}

impl Target<'_> {
    /// The host that is signed for; none for the built-in upstream, and if there is no base URL.
    fn host(&self) -> Option<&str> {
        match self.base_url.map(BaseUrl::destination) {
            Some(Destination::Server { host, .. }) => Some(host),
            Some(Destination::Echo) | None => None,
        }
    }

    /// Whether others can change what is sent.
    fn is_cleartext(&self) -> bool {
        match self.base_url.map(BaseUrl::destination) {
            Some(Destination::Server { scheme, host, .. }) => {
                *scheme == Scheme::Http && !is_loopback(host)
            }
            Some(Destination::Echo) | None => false,
        }
    }
}

impl Compiler<'_, '_> {
    fn service(&self, section: &Section<'_>, inferred: Option<&str>) -> Option<Box<str>> {
        if section.has("service") {
            return section.parse("service", service);
        }
        if inferred.is_none() && self.target.base_url.is_some() {
            let message = "`service` is needed, as the host of `base_url` does not tell it; write the name that AWS signs, such as `s3`, `sqs` or `execute-api`";
            section.missing("service", message);
        }
        inferred.map(Box::from)
    }

    fn region(&self, section: &Section<'_>, inferred: Inferred) -> Option<Region> {
        let is_aws = self.target.host().is_some_and(is_aws);
        if let Some(text) = section.text("region") {
            return match region(text.text, is_aws) {
                Ok(region) if region.contains('*') => Some(Region::Set(region)),
                Ok(region) => Some(Region::One(region)),
                Err(message) => {
                    section.refuse(text, message);
                    None
                }
            };
        }
        if let Some(entry) = section.entry("region") {
            let regions = section.parse_each("region", |text| region(text, is_aws))?;
            if regions.is_empty() && section.texts("region").is_none_or(|texts| texts.is_empty()) {
                let message = "`region` is empty; `\"*\"` is every region";
                section.report("region", Fault::at(entry.place, message));
            }
            return Some(Region::Set(regions.join(",").into()));
        }
        if inferred.region.is_none() && self.target.base_url.is_some() {
            let message = "`region` is needed, as the host of `base_url` does not tell it; write the one where it lies, such as `eu-west-1`";
            section.missing("region", message);
        }
        inferred.region
    }

    fn payload(
        &self,
        section: &Section<'_>,
        service: Option<&str>,
        region: Option<&Region>,
    ) -> Payload {
        let Some(text) = section.text("payload") else {
            return Payload::Auto;
        };
        let refuse = |message: String, hint: &str| {
            section.report("payload", Fault::at(text.place, message).hint(hint));
        };
        match text.text {
            "chunked" => {
                if let Some(service) = service.filter(|service| !is_s3(service)) {
                    let message = format!(
                        "`payload = \"chunked\"` is for S3 alone, and `service` is `{service}`"
                    );
                    refuse(message, "`auto` hashes content up to `limits.signed_body`");
                }
                if let Some(Region::Set(_)) = region {
                    let message = "`payload = \"chunked\"` signs for one region only".to_owned();
                    refuse(message, "use `signed`, or `unsigned` over `https://`");
                }
                Payload::Chunked
            }
            "signed" => Payload::Signed,
            "unsigned" => {
                if self.target.is_cleartext() {
                    let message = "`payload = \"unsigned\"` lets others change what is sent, as `base_url` is `http://`".to_owned();
                    refuse(message, "use `https://`, or another `payload`");
                }
                Payload::Unsigned
            }
            _ => Payload::Auto,
        }
    }
}

/// The name of a service, as it is signed.
fn service(text: &str) -> Result<Box<str>, String> {
    // The one name with capital letters.
    const MIXED: &str = "IoTSecuredTunneling";
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    match text {
        "" => Err("`service` is empty".to_owned()),
        _ if !text.bytes().all(fits) || text.len() > 64 => {
            Err("`service` is a name such as `s3`, `sqs` or `execute-api`".to_owned())
        }
        _ if text != MIXED && text.contains(|c: char| c.is_ascii_uppercase()) => Err(format!(
            "services are written in lower case: `{}`",
            text.to_ascii_lowercase()
        )),
        _ => Ok(text.into()),
    }
}

/// The name of a region, or for hosts that are none of AWS whatever stands for it.
fn region(text: &str, is_aws: bool) -> Result<Box<str>, String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.*".contains(&b);
    let lower = text.to_ascii_lowercase();
    let zone = lower.trim_end_matches(|c: char| c.is_ascii_lowercase());
    match text {
        "" => Err("`region` is empty".to_owned()),
        _ if text.contains(',') => Err(
            "regions stand in strings of their own: `[\"eu-west-1\", \"eu-west-2\"]`".to_owned(),
        ),
        _ if !text.bytes().all(fits) || text.len() > 64 => {
            Err("`region` is a name such as `eu-west-1`".to_owned())
        }
        _ if is_region(&lower) && lower != text => {
            Err(format!("regions are written in lower case: `{lower}`"))
        }
        _ if zone != lower && is_region(zone) => Err(format!(
            "`{text}` is an availability zone; its region is `{zone}`"
        )),
        _ if is_aws && !text.contains('*') && !is_region(text) => Err(format!(
            "`{text}` is no region of AWS; they are called as `eu-west-1`"
        )),
        _ => Ok(text.into()),
    }
}
