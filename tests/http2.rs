//! Section 3, step 7, on HTTP/2: callers by prior knowledge, upstreams by ALPN or as configured, and
//! gRPC, which needs both.

mod callers;
mod floods;
mod grpc;
mod server;
mod upstreams;

pub use self::server::{Http2Upstream, Manners};
