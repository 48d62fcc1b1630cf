//! What traces tell of exchanges.

use super::{Answer, Endpoint, FetchFault};
use crate::traces::renewal::{self, Asked};

impl Endpoint {
    /// An exchange with this endpoint, as one that is shown in traces.
    pub(in crate::auth) async fn traced(
        &self,
        method: &'static str,
        exchange: impl Future<Output = Result<Answer, FetchFault>>,
    ) -> Result<Answer, FetchFault> {
        let tell = |outcome: &Result<Answer, FetchFault>, begun, ended| {
            let (host, port) = self.base.place();
            Asked {
                method,
                url: self.base.to_string().into(),
                host: host.into(),
                port,
                begun,
                ended,
                status: outcome.as_ref().ok().map(|answer| answer.status.as_u16()),
                error: outcome.as_ref().err().map(FetchFault::word),
            }
        };
        renewal::asked(exchange, tell).await
    }
}

impl FetchFault {
    /// In one word, as traces have it.
    pub(in crate::auth) fn word(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Unusable(_) => "unusable",
        }
    }
}
