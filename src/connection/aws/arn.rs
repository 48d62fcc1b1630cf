//! Amazon resource names of roles: `arn:PARTITION:iam::ACCOUNT:role/PATH/NAME`.

use super::partition::Partition;

/// Why a text is not the ARN of a role. None tells the text, as people paste secrets, too.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidArn {
    /// Its account is none of AWS.
    #[error("the account in a role's ARN is a number of 12 digits")]
    Account,
    /// It names something else that IAM has.
    #[error(
        "this is the ARN of another thing than a role; a role's is `arn:aws:iam::123456789012:role/NAME`"
    )]
    NoRole,
    /// It names no partition that there is.
    #[error("there is no partition of this name; it is one of {0}")]
    Partition(String),
    /// Its role's name is none.
    #[error("the name in a role's ARN has letters, digits and `_+=,.@-`, and `/` between them")]
    RoleName,
    /// It names a session of a role.
    #[error(
        "this is the ARN of a session; the role's own is `arn:aws:iam::ACCOUNT:role/NAME`, as IAM's console shows it"
    )]
    Session,
    /// It is no ARN.
    #[error("a role's ARN looks like `arn:aws:iam::123456789012:role/NAME`")]
    Syntax,
}

/// Checks the ARN of a role of AWS, and gives its partition.
///
/// # Errors
/// What is wrong with it.
pub fn of_aws(text: &str) -> Result<&'static Partition, InvalidArn> {
    let (id, account) = of_any(text)?;
    let partition = Partition::of_id(id).ok_or_else(|| {
        let mut ids: Vec<_> = Partition::ids().collect();
        ids.sort_unstable();
        InvalidArn::Partition(format!("`{}`", ids.join("`, `")))
    })?;
    if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
        return Err(InvalidArn::Account);
    }
    Ok(partition)
}

/// Checks the ARN of a role of any server that speaks like STS: partition and account may be what it
/// likes, or empty. Gives both.
///
/// # Errors
/// What is wrong with it.
pub fn of_any(text: &str) -> Result<(&str, &str), InvalidArn> {
    let parts: Vec<_> = text.splitn(6, ':').collect();
    let ["arn", partition, service, region, account, resource] = *parts else {
        return Err(InvalidArn::Syntax);
    };
    if service == "sts" && resource.starts_with("assumed-role/") {
        return Err(InvalidArn::Session);
    }
    let name = resource.strip_prefix("role/").ok_or(InvalidArn::NoRole)?;
    if service != "iam" || !region.is_empty() {
        return Err(InvalidArn::NoRole);
    }
    let is_plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
    if !is_plain(partition) || !is_plain(account) {
        return Err(InvalidArn::Syntax);
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-/".contains(&b);
    let is_name = !name.is_empty() && !name.ends_with('/') && name.bytes().all(fits);
    match is_name && text.len() <= 2048 {
        true => Ok((partition, account)),
        false => Err(InvalidArn::RoleName),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_of_every_partition_pass() {
        for (arn, partition) in [
            ("arn:aws:iam::123456789012:role/reader", "aws"),
            ("arn:aws:iam::123456789012:role/a/b/r_+=,.@-", "aws"),
            ("arn:aws-cn:iam::123456789012:role/reader", "aws-cn"),
            ("arn:aws-us-gov:iam::123456789012:role/reader", "aws-us-gov"),
            ("arn:aws-iso-b:iam::123456789012:role/reader", "aws-iso-b"),
            ("arn:aws-eusc:iam::123456789012:role/reader", "aws-eusc"),
        ] {
            assert_eq!(of_aws(arn).unwrap().id, partition, "{arn}");
        }
        let other = "arn:minio:iam:::role/x";
        assert_eq!(of_any(other), Ok(("minio", "")));
    }

    #[test]
    fn what_is_no_role_is_told_by_what_it_is() {
        for (arn, why) in [
            ("", InvalidArn::Syntax),
            ("reader", InvalidArn::Syntax),
            ("arn:aws:iam::123456789012", InvalidArn::Syntax),
            ("arn:a b:iam::123456789012:role/x", InvalidArn::Syntax),
            ("arn:aws:iam::123456789012:user/me", InvalidArn::NoRole),
            (
                "arn:aws:iam::123456789012:instance-profile/x",
                InvalidArn::NoRole,
            ),
            ("arn:aws:s3::123456789012:role/x", InvalidArn::NoRole),
            (
                "arn:aws:iam:us-east-1:123456789012:role/x",
                InvalidArn::NoRole,
            ),
            (
                "arn:aws:sts::123456789012:assumed-role/x/me",
                InvalidArn::Session,
            ),
            ("arn:aws:iam::12345678901:role/x", InvalidArn::Account),
            ("arn:aws:iam::1234-5678-9012:role/x", InvalidArn::Account),
            ("arn:aws:iam::123456789012:role/", InvalidArn::RoleName),
            ("arn:aws:iam::123456789012:role/x ", InvalidArn::RoleName),
            ("arn:aws:iam::123456789012:role/x/", InvalidArn::RoleName),
            ("arn:aws:iam::123456789012:role/x*", InvalidArn::RoleName),
        ] {
            assert_eq!(of_aws(arn), Err(why), "{arn}");
        }
        let wrong = of_aws("arn:amazon:iam::123456789012:role/x").unwrap_err();
        assert!(wrong.to_string().contains("`aws-us-gov`"), "{wrong}");
    }
}
