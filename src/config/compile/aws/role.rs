//! Roles: which one, assumed by whom, and what is sent with it.

use std::time::Duration;

use url::Url;

use super::Compiler;
use crate::config::Store;
use crate::config::compile::endpoint::{InvalidEndpoint, issuer};
use crate::config::document::Place;
use crate::config::fault::Fault;
use crate::config::section::Section;
use crate::connection::aws::host::{infer, is_aws};
use crate::connection::aws::partition::Partition;
use crate::connection::aws::{ExternalId, Region, Role, Source, arn};

/// How many roles may lead to one, itself included.
const DEEPEST: usize = 5;

/// What STS grants (`DurationSeconds` of `AssumeRole`).
const SHORTEST: Duration = Duration::from_secs(15 * 60);
const DEFAULT: Duration = Duration::from_secs(60 * 60);
const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);
/// To whom is a role's session already.
const LONGEST_CHAINED: Duration = DEFAULT;

/// STS takes no longer session names.
const LONGEST_NAME: usize = 64;

/// The keys of a `source` that is an access key, and those of one that is a role.
const OF_ACCESS_KEY: [&str; 3] = ["access_key_id", "secret_access_key", "session_token"];
const OF_ROLE: [&str; 6] = [
    "role_arn",
    "external_id",
    "session_name",
    "duration",
    "source",
    "sts_endpoint",
];

impl<'a> Compiler<'_, 'a> {
    /// The role in a table, so many roles deep.
    pub(super) fn role(
        &self,
        section: &Section<'a>,
        region: Option<&Region>,
        depth: usize,
    ) -> Option<Role> {
        let endpoint = match section.has("sts_endpoint") {
            true => section.parse("sts_endpoint", sts_endpoint).map(Some),
            false => Some(None),
        };
        let arn = self.arn(section, endpoint.as_ref());
        let external_id = self.external_id(section);
        let session_name = match section.has("session_name") {
            true => section.parse("session_name", session_name),
            false => Some(self.default_name()),
        };
        let source = self.source(section, region, depth);
        let duration = duration(section);
        let sts_endpoint = endpoint?;
        let sts_region = sts_region(arn?, sts_endpoint.as_ref(), region);
        Some(Role {
            arn: arn?.into(),
            external_id: external_id?,
            session_name: session_name?,
            duration: duration?,
            source: source?,
            sts_endpoint,
            sts_region: sts_region.into(),
        })
    }

    fn arn(&self, section: &Section<'a>, endpoint: Option<&Option<Url>>) -> Option<&'a str> {
        if !section.has("role_arn") {
            let message =
                "a role needs a `role_arn`, such as `arn:aws:iam::123456789012:role/NAME`";
            section.missing("role_arn", message);
        }
        // Servers that only speak like STS have roles as they like.
        let is_foreign = match endpoint {
            Some(Some(url)) => !url.host_str().is_some_and(is_aws),
            Some(None) | None => false,
        };
        section.parse("role_arn", |text| match is_foreign {
            true => arn::of_any(text).map(|_| text),
            false => arn::of_aws(text).map(|_| text),
        })
    }

    fn external_id(&self, section: &Section<'a>) -> Option<ExternalId> {
        let Some(entry) = section.entry("external_id") else {
            let id = ExternalId::Generated(None);
            return self.kept(section, id, section.header());
        };
        if entry.value.is_str() {
            return section.parse("external_id", ExternalId::given);
        }
        let table = section.below(&entry)?;
        if !table.has("scope") {
            let message = "a table for `external_id` names a `scope`: `{ scope = \"NAME\" }`";
            table.missing("scope", message);
        }
        let id = table.parse("scope", ExternalId::of_scope)?;
        self.kept(section, id, entry.place)
    }

    /// An external ID that is generated, which needs a store.
    fn kept(&self, section: &Section<'a>, id: ExternalId, at: Place) -> Option<ExternalId> {
        if !matches!(self.target.store, Store::Memory) {
            return Some(id);
        }
        let message = "the external ID of this role is generated and stored, but `store.type` is `memory`, which a restart empties";
        let hint = "write the `external_id` that the role's trust policy demands, or `external_id = \"\"` if it demands none";
        section.report("external_id", Fault::at(at, message).hint(hint));
        None
    }

    /// `keybearer-NAME`, as far as it fits: so CloudTrail tells the connection.
    fn default_name(&self) -> Box<str> {
        let name = self.target.connection.chars().filter(char::is_ascii);
        let name: String = "keybearer-"
            .chars()
            .chain(name)
            .take(LONGEST_NAME)
            .collect();
        name.into()
    }

    fn source(
        &self,
        section: &Section<'a>,
        region: Option<&Region>,
        depth: usize,
    ) -> Option<Source> {
        let Some(entry) = section.entry("source") else {
            return Some(Source::Default);
        };
        if let Some(text) = entry.text() {
            if text.text == "default" {
                return Some(Source::Default);
            }
            let fault = Fault::at(entry.place, "`source` is `\"default\"` or a table");
            let hint =
                "`\"default\"` is what AWS SDKs find; a table has an access key or another role";
            section.report("source", fault.hint(hint));
            return None;
        }
        let table = section.below(&entry)?;
        let has = |keys: &[&str]| {
            keys.iter()
                .any(|key| table.has(key) || table.misspells(key))
        };
        if table.has("role_arn") {
            refuse_idle(&table, &OF_ACCESS_KEY, "beside `role_arn`");
            if depth == DEEPEST {
                let message = format!("more than {DEEPEST} roles lead to one");
                section.report("source", Fault::at(entry.place, message));
                return None;
            }
            let role = self.role(&table, region, depth + 1)?;
            return Some(Source::Role(Box::new(role)));
        }
        if has(&OF_ACCESS_KEY) {
            refuse_idle(&table, &OF_ROLE, "without `role_arn`");
            let key = self.access_key(&table, "a `source` of keys");
            return key.map(Source::AccessKey);
        }
        let message =
            "a table for `source` has `access_key_id` and `secret_access_key`, or `role_arn`";
        table.missing("role_arn", message);
        None
    }
}

/// Reports keys that this source would ignore.
fn refuse_idle(table: &Section<'_>, keys: &[&str], why: &str) {
    for entry in keys.iter().filter_map(|key| table.entry(key)) {
        let message = format!("`{}` has no use {why}", entry.key);
        table.report(entry.key, Fault::at(entry.key_place, message));
    }
}

fn duration(section: &Section<'_>) -> Option<Duration> {
    let Some(entry) = section.entry("duration") else {
        return Some(DEFAULT);
    };
    let duration = section.duration("duration")?;
    let is_chained = (section.section("source")).is_some_and(|source| source.has("role_arn"));
    let message = if !(SHORTEST..=LONGEST).contains(&duration) {
        "`duration` is from 15 minutes to 12 hours"
    } else if is_chained && duration > LONGEST_CHAINED {
        "a role that another role assumes has sessions of an hour at most"
    } else {
        return Some(duration);
    };
    section.report("duration", Fault::at(entry.place, message));
    None
}

/// `RoleSessionName` of `AssumeRole`.
fn session_name(text: &str) -> Result<Box<str>, &'static str> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b);
    match (2..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(fits) {
        true => Ok(text.into()),
        false => Err("`session_name` has 2 to 64 letters, digits and `_+=,.@-`"),
    }
}

/// Parses the URL of a server that speaks like STS.
fn sts_endpoint(text: &str) -> Result<Url, &'static str> {
    issuer(text).map_err(|invalid| match invalid {
        InvalidEndpoint::Cleartext => {
            "`http://` would show a session's keys to the network; use `https://` (only a loopback host does without)"
        }
        InvalidEndpoint::Fragment | InvalidEndpoint::Query => {
            "`sts_endpoint` has no query and no fragment"
        }
        InvalidEndpoint::Syntax => {
            "`sts_endpoint` is an absolute URL, such as `https://sts.eu-west-1.amazonaws.com`"
        }
        InvalidEndpoint::Userinfo => "`sts_endpoint` carries no user name or password",
    })
}

/// The region whose STS is asked: the one that its host names, else the connection's, unless the role
/// lies in another partition.
fn sts_region(role: &str, endpoint: Option<&Url>, region: Option<&Region>) -> String {
    let named = endpoint.and_then(|url| infer(url.host_str()?).region);
    let connection = || match region {
        Some(Region::One(region)) => Some(region.to_string()),
        Some(Region::Set(_)) | None => None,
    };
    let partition = (role.split(':').nth(1)).and_then(Partition::of_id);
    match (named, partition) {
        (Some(Region::One(region)), _) => region.into(),
        (_, Some(partition)) if endpoint.is_none() => connection()
            .filter(|region| Partition::of_region(region) == Some(partition))
            .unwrap_or_else(|| partition.main.to_owned()),
        (_, partition) => {
            connection().unwrap_or_else(|| partition.map_or("us-east-1", |it| it.main).to_owned())
        }
    }
}
