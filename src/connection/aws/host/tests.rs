use proptest::prelude::*;

use super::*;
use crate::connection::aws::partition::sts_host;

/// What the endpoint rules of the AWS SDKs say: a host, its signing name and its region a line.
const HOSTS: &str = include_str!("../../../../tests/data/aws/hosts.txt");

/// What `infer` says, as it stands in a table: `-` for nothing.
fn told(host: &str) -> (String, String) {
    let Inferred { service, region } = infer(host);
    let region = match region {
        Some(Region::One(region) | Region::Set(region)) => region.into_string(),
        None => "-".to_owned(),
    };
    let service = service.map_or_else(|| "-".to_owned(), |service| service.into_string());
    (service, region)
}

#[test]
fn endpoints_are_signed_as_the_sdks_sign_them() {
    let mut wrong = Vec::new();
    let lines = HOSTS.lines().filter(|line| !line.starts_with('#'));
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(' ').collect()).collect();
    assert!(rows.len() > 500, "{}", rows.len());
    for row in rows {
        let [host, service, region] = *row else {
            panic!("{row:?}");
        };
        let found = told(host);
        if (found.0.as_str(), found.1.as_str()) != (service, region) {
            wrong.push(format!("{host}: {found:?}, not {service} {region}"));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn hosts_of_customers_and_of_old_are_known_too() {
    for (host, service, region) in [
        // S3, whatever the bucket is called.
        ("s3.eu-west-1.amazonaws.com", "s3", "eu-west-1"),
        ("bucket.s3.eu-west-1.amazonaws.com", "s3", "eu-west-1"),
        (
            "bucket.with.dots.s3.eu-west-1.amazonaws.com",
            "s3",
            "eu-west-1",
        ),
        (
            "sqs.us-west-2.s3.eu-west-1.amazonaws.com",
            "s3",
            "eu-west-1",
        ),
        ("a.us-west-2.s3.amazonaws.com", "s3", "us-east-1"),
        ("es.s3.amazonaws.com", "s3", "us-east-1"),
        ("vpce-1.s3.eu-west-1.amazonaws.com", "s3", "eu-west-1"),
        ("s3.amazonaws.com", "s3", "us-east-1"),
        ("bucket.s3.amazonaws.com", "s3", "us-east-1"),
        ("bucket.s3-eu-west-1.amazonaws.com", "s3", "eu-west-1"),
        ("s3-us-gov-west-1.amazonaws.com", "s3", "us-gov-west-1"),
        ("s3-fips-us-gov-west-1.amazonaws.com", "s3", "us-gov-west-1"),
        ("s3-external-1.amazonaws.com", "s3", "us-east-1"),
        ("s3.dualstack.eu-west-1.amazonaws.com", "s3", "eu-west-1"),
        ("b.s3.dualstack.eu-west-1.amazonaws.com", "s3", "eu-west-1"),
        (
            "b.s3-fips.dualstack.us-east-2.amazonaws.com",
            "s3",
            "us-east-2",
        ),
        ("b.s3.cn-north-1.amazonaws.com.cn", "s3", "cn-north-1"),
        ("b.s3-accelerate.amazonaws.com", "s3", "-"),
        ("b.s3-accelerate.dualstack.amazonaws.com", "s3", "-"),
        (
            "ap-123456789012.s3-accesspoint.eu-west-1.amazonaws.com",
            "s3",
            "eu-west-1",
        ),
        (
            "ap-123456789012.s3-accesspoint-fips.dualstack.us-east-1.amazonaws.com",
            "s3",
            "us-east-1",
        ),
        (
            "mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com",
            "s3",
            "*",
        ),
        (
            "123456789012.s3-control.eu-west-1.amazonaws.com",
            "s3",
            "eu-west-1",
        ),
        (
            "ap-123456789012.s3-object-lambda.eu-west-1.amazonaws.com",
            "s3-object-lambda",
            "eu-west-1",
        ),
        (
            "b.op-1.s3-outposts.eu-west-1.amazonaws.com",
            "s3-outposts",
            "eu-west-1",
        ),
        (
            "bucket--usw2-az1--x-s3.s3express-usw2-az1.us-west-2.amazonaws.com",
            "s3express",
            "us-west-2",
        ),
        (
            "b--use1-az4--x-s3.s3express-fips-use1-az4.dualstack.us-east-1.amazonaws.com",
            "s3express",
            "us-east-1",
        ),
        (
            "s3express-control.us-west-2.amazonaws.com",
            "s3express",
            "us-west-2",
        ),
        // Endpoints in a customer's network.
        (
            "vpce-0a1b2c-x.sqs.eu-west-1.vpce.amazonaws.com",
            "sqs",
            "eu-west-1",
        ),
        (
            "vpce-0a1b2c-x-eu-west-1a.execute-api.eu-west-1.vpce.amazonaws.com",
            "execute-api",
            "eu-west-1",
        ),
        (
            "vpce-0a1b2c-x.api.ecr.eu-west-1.vpce.amazonaws.com",
            "ecr",
            "eu-west-1",
        ),
        (
            "vpce-0a1b2c-x.s3.eu-west-1.vpce.amazonaws.com",
            "s3",
            "eu-west-1",
        ),
        (
            "b.bucket.vpce-0a1b2c-x.s3.eu-west-1.vpce.amazonaws.com",
            "s3",
            "eu-west-1",
        ),
        (
            "b.vpce-0a1b2c-x.s3.eu-west-1.vpce.amazonaws.com",
            "s3",
            "eu-west-1",
        ),
        (
            "x.vpce-0a1b2c-x.accesspoint.s3-global.vpce.amazonaws.com",
            "s3",
            "*",
        ),
        (
            "vpce-0a1b2c-x.monitoring.cn-north-1.vpce.amazonaws.com.cn",
            "monitoring",
            "cn-north-1",
        ),
        // A customer's own.
        (
            "abc.execute-api.eu-west-1.amazonaws.com",
            "execute-api",
            "eu-west-1",
        ),
        (
            "abc.execute-api.cn-north-1.amazonaws.com.cn",
            "execute-api",
            "cn-north-1",
        ),
        (
            "abc.appsync-api.eu-west-1.amazonaws.com",
            "appsync",
            "eu-west-1",
        ),
        ("abc.lambda-url.eu-west-1.on.aws", "lambda", "eu-west-1"),
        (
            "a-1.abc.vpc-lattice-svcs.us-west-2.on.aws",
            "vpc-lattice-svcs",
            "us-west-2",
        ),
        ("search-dom-x.eu-west-1.es.amazonaws.com", "es", "eu-west-1"),
        ("vpc-dom-x.eu-west-1.es.amazonaws.com", "es", "eu-west-1"),
        ("search-dom-x.aos.eu-west-1.on.aws", "es", "eu-west-1"),
        ("x.eu-west-1.aoss.amazonaws.com", "aoss", "eu-west-1"),
        (
            "search-x.us-east-1.cloudsearch.amazonaws.com",
            "cloudsearch",
            "us-east-1",
        ),
        (
            "x.cluster-y.eu-west-1.neptune.amazonaws.com",
            "neptune-db",
            "eu-west-1",
        ),
        (
            "g-x.us-east-1.neptune-graph.amazonaws.com",
            "neptune-graph",
            "us-east-1",
        ),
        (
            "123456789012.ddb.eu-west-1.amazonaws.com",
            "dynamodb",
            "eu-west-1",
        ),
        (
            "123456789012.data-kinesis.eu-west-1.amazonaws.com",
            "kinesis",
            "eu-west-1",
        ),
        (
            "s-1.kinesisvideo.us-west-2.amazonaws.com",
            "kinesisvideo",
            "us-west-2",
        ),
        (
            "a1b2-ats.iot.eu-west-1.amazonaws.com",
            "iotdata",
            "eu-west-1",
        ),
        (
            "a1b2.jobs.iot.eu-west-1.amazonaws.com",
            "iot-jobs-data",
            "eu-west-1",
        ),
        (
            "abc.data.mediastore.eu-west-1.amazonaws.com",
            "mediastore",
            "eu-west-1",
        ),
        (
            "query-cell1.timestream.us-east-1.amazonaws.com",
            "timestream",
            "us-east-1",
        ),
        ("aps-workspaces.eu-west-1.amazonaws.com", "aps", "eu-west-1"),
        (
            "abcde.cloudfront-kvs.global.api.aws",
            "cloudfront-keyvaluestore",
            "*",
        ),
        ("abcde.veo.endpoint.events.amazonaws.com", "events", "*"),
        // Of old, and of sandboxes.
        ("eu-west-1.queue.amazonaws.com", "sqs", "eu-west-1"),
        ("queue.amazonaws.com", "sqs", "us-east-1"),
        (
            "eu-west-1.elasticmapreduce.amazonaws.com",
            "elasticmapreduce",
            "eu-west-1",
        ),
        (
            "mturk-requester-sandbox.us-east-1.amazonaws.com",
            "mturk-requester",
            "us-east-1",
        ),
        (
            "transcribestreaming.eu-west-1.amazonaws.com",
            "transcribe",
            "eu-west-1",
        ),
        (
            "fips.transcribe.us-east-1.amazonaws.com",
            "transcribe",
            "us-east-1",
        ),
        ("fips.eks.us-east-1.amazonaws.com", "eks", "us-east-1"),
        (
            "runtime-fips.lex.us-east-1.amazonaws.com",
            "lex",
            "us-east-1",
        ),
        // A service that is newer than this table.
        ("tomorrow.eu-west-1.api.aws", "tomorrow", "eu-west-1"),
        // Where two services share a host, only the region is sure.
        ("maps.geo.eu-west-1.amazonaws.com", "-", "eu-west-1"),
    ] {
        let found = told(host);
        assert_eq!((&*found.0, &*found.1), (service, region), "{host}");
    }
}

#[test]
fn look_alikes_tell_nothing() {
    for host in [
        "",
        "amazonaws.com",
        ".amazonaws.com",
        "api.aws",
        "foo.amazonaws.com",
        "eu-west-1.amazonaws.com",
        "s3.amazonaws.com.evil.test",
        "sqs.eu-west-1.amazonaws.com.evil.test",
        "sqs.eu-west-1.evilamazonaws.com",
        "sqs.eu-west-1.amazonaws.co",
        "sqs.eu-west-1.amazonaws.com.",
        "s3.example.com",
        "localhost",
        "127.0.0.1",
        "::1",
        "b.s3-website-eu-west-1.amazonaws.com",
        "ec2-1-2-3-4.eu-west-1.compute.amazonaws.com",
        "lb-1.eu-west-1.elb.amazonaws.com",
        "d.x.eu-west-1.rds.amazonaws.com",
        "vpce-0a1b2c-x.eu-west-1.vpce.amazonaws.com",
        "vpce.amazonaws.com",
        "docs.aws.amazon.com",
    ] {
        assert_eq!(infer(host), Inferred::default(), "{host}");
    }
}

proptest! {
    #[test]
    fn no_host_is_too_odd(labels in prop::collection::vec("[a-z0-9-]{0,12}|vpce|s3|dualstack|eu-west-1|vpce-1|fips", 0..8), suffix in 0..3_usize) {
        let suffix = ["amazonaws.com", "api.aws", "on.aws"][suffix];
        let host = format!("{}.{suffix}", labels.join("."));
        if let Some(service) = infer(&host).service {
            prop_assert!(!service.is_empty() && is_service(&service), "{}: {}", host, service);
        }
    }
}

#[test]
fn websites_of_buckets_are_not_signed() {
    assert_eq!(infer("b.s3-website.eu-west-1.amazonaws.com").service, None);
}

#[test]
fn tables_are_sorted() {
    for table in [NAMES, REGION_FIRST, GLOBAL] {
        assert!(table.is_sorted_by_key(|(name, _)| name));
    }
}

#[test]
fn each_partition_has_its_sts() {
    for (region, id, host) in [
        ("eu-west-1", "aws", "sts.eu-west-1.amazonaws.com"),
        ("cn-north-1", "aws-cn", "sts.cn-north-1.amazonaws.com.cn"),
        (
            "us-gov-west-1",
            "aws-us-gov",
            "sts.us-gov-west-1.amazonaws.com",
        ),
        ("us-iso-east-1", "aws-iso", "sts.us-iso-east-1.c2s.ic.gov"),
        (
            "us-isob-east-1",
            "aws-iso-b",
            "sts.us-isob-east-1.sc2s.sgov.gov",
        ),
        (
            "eu-isoe-west-1",
            "aws-iso-e",
            "sts.eu-isoe-west-1.cloud.adc-e.uk",
        ),
        (
            "us-isof-south-1",
            "aws-iso-f",
            "sts.us-isof-south-1.csp.hci.ic.gov",
        ),
        (
            "eusc-de-east-1",
            "aws-eusc",
            "sts.eusc-de-east-1.amazonaws.eu",
        ),
    ] {
        let partition = Partition::of_region(region).unwrap();
        assert_eq!((partition.id, &*sts_host(region)), (id, host));
        assert_eq!(told(host), ("sts".to_owned(), region.to_owned()));
    }
    assert_eq!(Partition::of_region("auto"), None);
}
