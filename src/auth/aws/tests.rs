//! Tests of the whole signer.
