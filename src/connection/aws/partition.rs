//! Partitions of AWS: parts that share nothing, each with its own suffix of hosts and its own regions.

/// A part of AWS with accounts, regions and hosts of its own.
#[derive(Debug, PartialEq, Eq)]
pub struct Partition {
    /// The name in ARNs.
    pub id: &'static str,
    /// The ends of its hosts; the first is that of endpoints which every region has.
    pub(super) suffixes: &'static [&'static str],
    /// How the names of its regions begin; empty for all that no other has.
    regions: &'static str,
    /// The region that global services are signed for.
    pub main: &'static str,
}

/// All of them; the one whose regions begin with anything is the last.
static PARTITIONS: [Partition; 8] = [
    Partition {
        id: "aws-cn",
        suffixes: &[
            "amazonaws.com.cn",
            "api.amazonwebservices.com.cn",
            "on.amazonwebservices.com.cn",
        ],
        regions: "cn-",
        main: "cn-northwest-1",
    },
    Partition {
        id: "aws-eusc",
        suffixes: &[
            "amazonaws.eu",
            "api.amazonwebservices.eu",
            "on.amazonwebservices.eu",
        ],
        regions: "eusc-",
        main: "eusc-de-east-1",
    },
    Partition {
        id: "aws-iso",
        suffixes: &["c2s.ic.gov", "api.aws.ic.gov"],
        regions: "us-iso-",
        main: "us-iso-east-1",
    },
    Partition {
        id: "aws-iso-b",
        suffixes: &["sc2s.sgov.gov", "api.aws.scloud"],
        regions: "us-isob-",
        main: "us-isob-east-1",
    },
    Partition {
        id: "aws-iso-e",
        suffixes: &["cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"],
        regions: "eu-isoe-",
        main: "eu-isoe-west-1",
    },
    Partition {
        id: "aws-iso-f",
        suffixes: &["csp.hci.ic.gov", "api.aws.hci.ic.gov"],
        regions: "us-isof-",
        main: "us-isof-south-1",
    },
    Partition {
        id: "aws-us-gov",
        suffixes: &["us-gov.amazonaws.com", "us-gov.api.aws"],
        regions: "us-gov-",
        main: "us-gov-west-1",
    },
    Partition {
        id: "aws",
        suffixes: &["amazonaws.com", "api.aws", "on.aws"],
        regions: "",
        main: "us-east-1",
    },
];

impl Partition {
    /// The partition that ARNs call so.
    pub fn of_id(id: &str) -> Option<&'static Self> {
        PARTITIONS.iter().find(|partition| partition.id == id)
    }

    /// The partition that a region belongs to, if it is the name of one.
    pub fn of_region(region: &str) -> Option<&'static Self> {
        let mut partitions = PARTITIONS.iter();
        partitions.find(|partition| is_region(region) && region.starts_with(partition.regions))
    }

    /// The partition that a host lies in, and what stands before its suffix.
    pub(super) fn of_host(host: &str) -> Option<(&'static Self, &'static str, &str)> {
        let of = |partition: &'static Self| {
            let mut suffixes = partition.suffixes.iter();
            suffixes.find_map(|suffix| {
                let name = host.strip_suffix(suffix)?.strip_suffix('.')?;
                Some((partition, *suffix, name))
            })
        };
        PARTITIONS.iter().find_map(of)
    }

    /// The names of all.
    pub fn ids() -> impl Iterator<Item = &'static str> {
        PARTITIONS.iter().map(|partition| partition.id)
    }
}

/// The host of a region's STS.
pub fn sts_host(region: &str) -> String {
    let suffix = match Partition::of_region(region) {
        // Its hosts have a suffix of their own only where they name no region.
        Some(partition) if partition.id != "aws-us-gov" => partition.suffixes[0],
        _ => "amazonaws.com",
    };
    format!("sts.{region}.{suffix}")
}

/// Whether a text has the form of a region's name, such as `us-gov-west-1`.
pub fn is_region(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let [area, between @ .., number] = &*parts else {
        return false;
    };
    let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    (2..=4).contains(&area.len())
        && is_word(area)
        && !between.is_empty()
        && between.iter().all(is_word)
        && (1..=2).contains(&number.len())
        && number.bytes().all(|b| b.is_ascii_digit())
}
