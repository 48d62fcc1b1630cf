//! AWS: requests that are signed (Signature Version 4), and the keys that sign them.

pub mod keys;
