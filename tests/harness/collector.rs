//! A collector of OpenTelemetry: what keybearer sends is read with the official messages.

use std::io::Read;
use std::net::SocketAddr;
use std::process::Command;

use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use prost::Message;

use super::process::Process;
use super::upstream::{Recorded, Upstream};
use super::{eventually, free_address, python};

/// A running collector, which is an upstream that keeps what it is sent.
pub struct Collector(pub Upstream);

/// A span as it arrived.
#[derive(Clone, Debug)]
pub struct Span {
    /// The trace's ID in hexadecimal digits.
    pub trace: String,
    /// Its own, likewise.
    pub id: String,
    /// That of its parent, likewise; empty if it has none.
    pub parent: String,
    /// `SERVER`, `CLIENT` or `INTERNAL`.
    pub kind: &'static str,
    /// Attributes of the service it is of.
    pub resource: Vec<(String, String)>,
    /// All of it.
    pub span: otlp::Span,
}

impl Collector {
    /// Starts one.
    pub async fn start() -> Self {
        Self(Upstream::start().await)
    }

    /// A `[traces]` table that leads here, with these further keys.
    pub fn table(&self, rest: &str) -> String {
        traces(&self.0.url(""), rest)
    }

    /// Every span so far, in the order of their beginnings.
    pub fn spans(&self) -> Vec<Span> {
        let requests = self.0.requests();
        let bodies = requests.iter().filter(|request| request.complete);
        let mut spans: Vec<_> = bodies.flat_map(|it| spans(&unpacked(it))).collect();
        spans.sort_by_key(|span| span.span.start_time_unix_nano);
        spans
    }

    /// Waits until there are so many spans, and no more, and gives them.
    pub async fn exactly(&self, count: usize) -> Vec<Span> {
        let what = format!("{count} spans");
        let spans = eventually(&what, async || {
            let spans = self.spans();
            (spans.len() >= count).then_some(spans)
        });
        let spans = spans.await;
        assert_eq!(spans.len(), count, "{:#?}", names(&spans));
        spans
    }

    /// Every byte that arrived, as text.
    pub fn text(&self) -> String {
        let requests = self.0.requests();
        let bytes = requests.iter().map(|request| {
            let head = String::from_utf8_lossy(&request.head.raw).into_owned();
            head + &String::from_utf8_lossy(&request.body)
        });
        bytes.collect()
    }
}

/// A `[traces]` table that leads to this endpoint, with these further keys.
pub fn traces(endpoint: &str, rest: &str) -> String {
    format!("[traces]\nendpoint = \"{endpoint}\"\n{rest}\n")
}

/// The content without its coding.
fn unpacked(request: &Recorded) -> Vec<u8> {
    let mut content = request.body.clone();
    if request.header("content-encoding") == Some("gzip") {
        content.clear();
        let mut decoder = GzDecoder::new(&*request.body);
        decoder.read_to_end(&mut content).unwrap();
    }
    content
}

/// The spans of a message.
fn spans(message: &[u8]) -> Vec<Span> {
    let message = ExportTraceServiceRequest::decode(message).unwrap();
    let of_resource = message.resource_spans.into_iter().flat_map(|resource| {
        let attributes = resource.resource.unwrap().attributes;
        let attributes: Vec<_> = attributes.iter().map(shown).collect();
        let spans = resource.scope_spans.into_iter().flat_map(|it| it.spans);
        spans.map(move |span| Span::new(span, attributes.clone()))
    });
    of_resource.collect()
}

impl Span {
    fn new(span: otlp::Span, resource: Vec<(String, String)>) -> Self {
        assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        Self {
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            kind: match span.kind() {
                otlp::span::SpanKind::Server => "SERVER",
                otlp::span::SpanKind::Client => "CLIENT",
                otlp::span::SpanKind::Internal => "INTERNAL",
                other => panic!("{other:?}"),
            },
            resource,
            span,
        }
    }

    /// All attributes, in the order of their names, as `name=value`.
    pub fn attributes(&self) -> Vec<String> {
        let attributes = self.span.attributes.iter().map(shown);
        let mut lines: Vec<_> = attributes
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        lines.sort();
        lines
    }

    /// An attribute; empty if it has no such one.
    pub fn attribute(&self, name: &str) -> String {
        let attribute = self.span.attributes.iter().find(|it| it.key == name);
        attribute.map(|it| shown(it).1).unwrap_or_default()
    }

    /// Whether its status is that of an error.
    pub fn is_error(&self) -> bool {
        let status = self.span.status.as_ref();
        let code = status.map(otlp::Status::code);
        assert_ne!(code, Some(otlp::status::StatusCode::Ok), "left to others");
        code == Some(otlp::status::StatusCode::Error)
    }
}

fn shown(attribute: &KeyValue) -> (String, String) {
    let value = attribute.value.as_ref().and_then(|it| it.value.as_ref());
    let value = match value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        other => panic!("{other:?}"),
    };
    (attribute.key.clone(), value)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Kinds and names, for messages.
pub fn names(spans: &[Span]) -> Vec<String> {
    let names = spans
        .iter()
        .map(|it| format!("{} {}", it.kind, it.span.name));
    names.collect()
}

/// Rotel, a collector that others run, too; it passes on what it takes.
pub struct Rotel {
    /// Where it takes OTLP over HTTP.
    pub address: SocketAddr,
    process: Process,
}

impl Rotel {
    /// Starts one that passes spans on to `next`.
    pub async fn start(next: &Collector) -> Self {
        let find = "import os, rotel; print(os.path.dirname(rotel.__file__))";
        let mut command = Command::new(python::interpreter());
        let found = Process::run(command.args(["-I", "-c", find])).await;
        let program = format!("{}/rotel-agent", found.stdout.trim());
        let (address, grpc) = (free_address(), free_address());
        let mut command = Command::new(program);
        command.arg("start").args([
            &format!("--otlp-http-endpoint={address}"),
            &format!("--otlp-grpc-endpoint={grpc}"),
            "--exporter=otlp",
            "--otlp-exporter-protocol=http",
            &format!("--otlp-exporter-endpoint={}", next.0.url("")),
        ]);
        let mut process = Process::spawn(&mut command);
        eventually("Rotel", async || {
            if process.ended().is_some() {
                panic!("Rotel ended: {:?}", process.exit().await);
            }
            tokio::net::TcpStream::connect(address).await.ok()
        })
        .await;
        Self { address, process }
    }

    /// What it has said.
    pub fn log(&self) -> String {
        self.process.stdout() + &self.process.stderr()
    }
}
