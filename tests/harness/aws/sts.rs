//! An STS that issues sessions of any lifetime and remembers who asked for what.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};

use super::signer::Keys;
use crate::harness::{Answer, Recorded, Upstream};

/// A running STS.
pub struct Sts {
    upstream: Upstream,
}

/// Numbers the sessions of all tests.
static ISSUED: AtomicUsize = AtomicUsize::new(1);

impl Sts {
    /// Starts one that issues sessions for this many seconds.
    pub async fn start<const SECONDS: u64>() -> Self {
        let upstream = Upstream::start().await;
        upstream.on("/", Self::issues::<SECONDS>());
        Self { upstream }
    }

    /// Issues a session for this many seconds.
    pub fn issues<const SECONDS: u64>() -> Answer {
        Answer::of(issue::<SECONDS>)
    }

    /// Refuses as STS does, with this error code and text.
    pub fn refuses(status: &str, code: &str, message: &str) -> Answer {
        Answer::raw(answer(status, &refusal(code, message)))
    }

    /// Answers so from now on, in turn; the last one stays.
    pub fn answers(&self, answers: impl IntoIterator<Item = Answer>) {
        self.upstream.on_each("/", answers);
    }

    /// Its URL.
    pub fn url(&self) -> String {
        self.upstream.url("")
    }

    /// The server itself.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// What was asked so far: the form fields of each request.
    pub fn asked(&self) -> Vec<BTreeMap<String, String>> {
        let requests = self.upstream.requests();
        requests.iter().map(form).collect()
    }

    /// The keys of the session with this access key ID.
    pub fn keys(id: &str) -> Keys {
        Keys {
            id: id.to_owned(),
            secret: format!("secret/{id}"),
            token: Some(format!("token/{id}==")),
        }
    }
}

fn form(request: &Recorded) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(&request.body)
        .into_owned()
        .collect()
}

/// The answer to `AssumeRole`; the access key ID ends with the external ID that was told. A role named
/// `demands-…` wants the rest of its name for an external ID.
fn issue<const SECONDS: u64>(request: &Recorded) -> String {
    let form = form(request);
    let told = |name: &str| form.get(name).map_or("", String::as_str);
    let role = told("RoleArn");
    let demanded = role.split_once("role/demands-");
    if demanded.is_some_and(|(_, demanded)| demanded != told("ExternalId")) {
        let text = format!(
            "User: arn:aws:iam::123456789012:user/app is not authorized to perform: sts:AssumeRole on resource: {role}"
        );
        return answer("403 Forbidden", &refusal("AccessDenied", &text));
    }
    let number = ISSUED.fetch_add(1, SeqCst);
    let Keys { id, secret, token } = Sts::keys(&format!("ASIA{number:04}{}", told("ExternalId")));
    let token = token.unwrap_or_default();
    let ends = DateTime::<Utc>::from(SystemTime::now() + Duration::from_secs(SECONDS));
    let ends = ends.format("%Y-%m-%dT%H:%M:%SZ");
    let session = told("RoleSessionName");
    let body = format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken><Expiration>{ends}</Expiration></Credentials><AssumedRoleUser><AssumedRoleId>AROAEXAMPLE:{session}</AssumedRoleId><Arn>{role}/{session}</Arn></AssumedRoleUser></AssumeRoleResult><ResponseMetadata><RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId></ResponseMetadata></AssumeRoleResponse>"
    );
    answer("200 OK", &body)
}

fn refusal(code: &str, message: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId></ErrorResponse>"
    )
}

fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\n\r\n{body}")
}
