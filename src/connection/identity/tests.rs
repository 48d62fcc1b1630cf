//! Chains and keys that fit, and those that do not.
