//! The request's path, a file per step of the interface's section 3: a head in, a head or a
//! [`Problem`](crate::problem::Problem) out. No sockets, no clock, no configuration text.
//!
//! The order of the steps is their security: nothing is routed before it is known to be
//! unambiguous ([`guard`]), nothing is allowed before it is known where it would go ([`route`],
//! [`pin`]), and a credential is only put where the caller's own has been taken out ([`strip`]).

pub mod answer;
pub mod cors;
pub mod fields;
pub mod guard;
pub mod names;
pub mod pin;
pub mod query;
pub mod route;
pub mod strip;
