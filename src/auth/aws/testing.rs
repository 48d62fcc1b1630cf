//! Settings for the tests of this floor, and servers that stand in for AWS.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use http::Response;
use url::Url;

use super::external_id::ExternalIds;
use crate::auth::testing::{connection, response, secret};
use crate::connection::Connection;
use crate::connection::auth::Auth;
use crate::connection::aws::{AccessKey, Aws, ExternalId, Payload, Region, Role, Source};
use crate::store::Store;

pub(crate) const ROLE: &str = "arn:aws:iam::123456789012:role/reader";

pub(crate) fn aws(source: Source) -> Aws {
    Aws {
        kind: "aws_iam_role",
        service: "s3".into(),
        region: Region::One("eu-west-1".into()),
        payload: Payload::Auto,
        source,
    }
}

/// A connection that has its keys from `source`.
pub(crate) fn connected(name: &str, source: Source) -> Connection {
    Connection {
        name: name.into(),
        auth: Auth::Aws(Box::new(aws(source))),
        ..connection()
    }
}

pub(crate) fn access_key(id: &str, text: &str) -> AccessKey {
    AccessKey {
        id: secret(id),
        secret: secret(text),
        session_token: None,
    }
}

/// A role that is assumed at `sts` with the keys `AKIDSOURCE` and `source-secret`.
pub(crate) fn role(sts: &Url) -> Role {
    Role {
        arn: ROLE.into(),
        external_id: ExternalId::Given("kb-1".into()),
        session_name: "keybearer".into(),
        duration: Duration::from_secs(3600),
        source: Source::AccessKey(access_key("AKIDSOURCE", "source-secret")),
        sts_endpoint: Some(sts.clone()),
        sts_region: "eu-west-1".into(),
    }
}

/// Those of a store that forgets.
pub(crate) fn external_ids() -> ExternalIds {
    ExternalIds::new(Store::memory())
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    waited.unwrap_or_else(|_| panic!("{what} did not come"));
}

/// A URL at which every connection is refused, for as long as its socket is there.
pub(crate) fn deaf() -> (tokio::net::TcpSocket, Url) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/", socket.local_addr().unwrap());
    (socket, url.parse().unwrap())
}

/// STS's answer with a session, for `AssumeRole` or another operation.
pub(crate) fn session(operation: &str, id: &str, end: SystemTime) -> Response<String> {
    let end = humantime::format_rfc3339_seconds(end);
    let text = format!(
        "<{operation}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{operation}Result>\
         <Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>canary-session-secret</SecretAccessKey>\
         <SessionToken>canary-session-token-{id}</SessionToken><Expiration>{end}</Expiration></Credentials>\
         </{operation}Result></{operation}Response>"
    );
    response(200, "text/xml", &text)
}

/// STS's refusal.
pub(crate) fn refusal(status: u16, code: &str, message: &str) -> Response<String> {
    let text = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    );
    response(status, "text/xml", &text)
}

/// The value of a field of a form, as it was sent.
pub(crate) fn field<'a>(form: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = form.split('&').filter_map(|field| field.split_once('='));
    fields.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// moto, which verifies signatures and enforces policies once it is told to.
pub(crate) struct Moto {
    child: Child,
    pub(crate) url: Url,
}

impl Moto {
    pub(crate) fn start() -> Self {
        let python = std::env::var("KEYBEARER_TEST_PYTHON").expect(
            "KEYBEARER_TEST_PYTHON is not set: run `make test`, which prepares a Python with moto",
        );
        let mut child = Command::new(python)
            .args(["-c", "from moto.server import main; main(['-p', '0'])"])
            .env("INITIAL_NO_AUTH_ACTION_COUNT", "1000")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once("Running on ")?.1.parse().unwrap()))
            .expect("moto ended");
        // It writes a line per request, and would stand still when nobody reads them.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { child, url }
    }

    /// One call of IAM; gives what stands in an element of the answer.
    pub(crate) async fn iam(&self, form: &[(&str, &str)], element: &str) -> String {
        let scope = "AWS4-HMAC-SHA256 Credential=setup/20200101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0";
        let form = url::form_urlencoded::Serializer::new("Version=2010-05-08".to_owned())
            .extend_pairs(form)
            .finish();
        let media_type = "application/x-www-form-urlencoded";
        let text = self.post("/", (scope, media_type), &form).await;
        let found = text
            .split_once(&format!("<{element}>"))
            .and_then(|(_, rest)| rest.split_once("</"));
        found.unwrap_or_else(|| panic!("{text}")).0.to_owned()
    }

    /// An access key of a user: its ID and its secret.
    pub(crate) async fn access_key(&self, user: &str) -> (String, String) {
        let form = [("Action", "CreateAccessKey"), ("UserName", user)];
        let secret = self.iam(&form, "SecretAccessKey").await;
        let form = [("Action", "ListAccessKeys"), ("UserName", user)];
        (self.iam(&form, "AccessKeyId").await, secret)
    }

    /// Enforces policies and verifies signatures from now on.
    pub(crate) async fn enforce(&self) {
        self.post("/moto-api/reset-auth", ("", "text/plain"), "0")
            .await;
    }

    async fn post(
        &self,
        path: &str,
        (authorization, media_type): (&str, &str),
        content: &str,
    ) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let authority = self.url.authority();
        let mut stream = tokio::net::TcpStream::connect(authority).await.unwrap();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\nauthorization: {authorization}\r\n\
             content-type: {media_type}\r\ncontent-length: {}\r\n\r\n{content}",
            content.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
