//! The way into a private network: an agent inside dials out, and connections of the proxy's come in
//! through what it opened.
//!
//! ```text
//! agent ── TLS ──▸ proxy          nothing listens inside
//!       ── POST /agent, Upgrade ▸ name, and token or certificate
//!       ◂── 101 ──                the roles turn: from here on the proxy asks
//!       ◂── HTTP/2 CONNECT ──     a stream per connection to an upstream
//! ```
//!
//! The agent opens what its own list allows ([`allow`]) and relays bytes ([`client`]); TLS with an
//! upstream is made through it, between proxy and upstream. The proxy's end is [`server`], which lets
//! agents in, and [`registry`], which knows who is there and opens streams on them.

pub mod allow;
mod certificate;
pub mod client;
mod door;
mod heartbeat;
mod hello;
pub mod refusal;
pub mod registry;
mod relay;
pub mod server;
mod socket;
pub mod stream;
#[cfg(test)]
mod tests;
mod tunnel;

use std::time::Duration;

/// What one stream may have under way: 50 MB/s at a round trip of 20 ms, and what is held of one whose
/// reader has stopped, in bytes.
const STREAM_WINDOW: u32 = 1 << 20;

/// What a tunnel's streams may have under way together, in bytes: as much as HTTP/2 can say, as streams
/// that are not read take their share of it from all others (2,047 of them all of it).
const TUNNEL_WINDOW: u32 = (1 << 31) - 1;

/// For how long a stream that was reset is remembered: what comes of it later ends the tunnel one day.
const RESET_MEMORY: Duration = Duration::from_secs(60);

/// What waits of one stream to be written to the tunnel, in bytes.
const SEND_BUFFER: usize = 256 << 10;

/// The longest piece of a stream: so long others wait for their turn, in bytes.
const FRAME: u32 = 64 << 10;

/// Streams at a time on one tunnel; each is a descriptor of the agent's.
const MAX_STREAMS: u32 = 10_000;

/// Streams that were given up and not seen yet: many callers may go away at once, and the peer is
/// known.
const MAX_RESET: usize = 10_000;

/// How often each end looks whether the other is there, and how long an answer may take.
const HEARTBEAT: Duration = Duration::from_secs(10);
