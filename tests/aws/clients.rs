//! Other clients, unmodified, with dummy keys: the AWS CLI, the SDK for JavaScript, rclone, restic.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::{REGION, boto3, signing};
use crate::harness::aws::{Moto, S3Server, sha256};
use crate::harness::{Exit, Keybearer, Process, Setup, node, python};

/// Runs a command of a client that finds dummy keys in its environment, and nothing else.
async fn run(command: &mut Command, home: &Path) -> Exit {
    let path = std::env::var_os("PATH").unwrap_or_default();
    command
        .env_clear()
        .env("PATH", path)
        .env("HOME", home)
        .env("AWS_ACCESS_KEY_ID", "AKIADUMMY")
        .env("AWS_SECRET_ACCESS_KEY", "dummy")
        .env("AWS_REGION", REGION)
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("RESTIC_PASSWORD", "password of the repository");
    let exit = Process::run(command).await;
    assert_eq!(
        exit.code,
        Some(0),
        "{command:?}: {}{}",
        exit.stdout,
        exit.stderr
    );
    exit
}

async fn with_s3_server() -> (S3Server, Keybearer, tempfile::TempDir) {
    let server = S3Server::start("bucket").await;
    let base_url = format!("http://{}", server.address());
    let all = signing("s3", &base_url, "s3", server.keys(), "");
    let all = all.replacen("base_url", "hosts = [\"localhost\"]\nbase_url", 1);
    let one = signing(
        "one",
        &format!("{base_url}/bucket"),
        "s3",
        server.keys(),
        "",
    );
    let keybearer = Keybearer::start(&(all + &one)).await;
    (server, keybearer, tempfile::tempdir().unwrap())
}

#[tokio::test]
async fn the_aws_cli() {
    let setup = Setup::new().tables(&boto3::tables(Moto::shared().await));
    let keybearer = setup.start().await;
    let home = keybearer.setup().path("");
    let endpoint = |service: &&str| {
        let url = format!("http://{}/{service}", keybearer.proxy());
        format!("{service} =\n  endpoint_url = {url}\n")
    };
    let endpoints = ["s3", "dynamodb", "sts"].iter().map(endpoint);
    let config = format!(
        "[default]\nregion = {REGION}\nservices = keybearer\n\n[services keybearer]\n{}",
        endpoints.collect::<String>()
    );
    fs::create_dir(home.join(".aws")).unwrap();
    fs::write(home.join(".aws/config"), config).unwrap();
    let aws = async |args: &[&str]| {
        let mut command = Command::new(python::interpreter());
        command.args(["-m", "awscli"]).args(args);
        run(&mut command, &home).await.stdout
    };
    let bytes: Vec<u8> = (0..9 << 20).map(|n: u32| (n * 7 + n / 251) as u8).collect();
    fs::create_dir_all(home.join("up/ä b")).unwrap();
    fs::write(home.join("up/ä b/big+1"), &bytes).unwrap();
    fs::write(home.join("up/small"), "small").unwrap();
    let path = |name: &str| home.join(name).display().to_string();
    aws(&["s3", "mb", "s3://cli-bucket"]).await;
    // Longer than 8 MiB goes in parts.
    aws(&[
        "s3",
        "cp",
        "--recursive",
        &path("up"),
        "s3://cli-bucket/x y/",
    ])
    .await;
    let listed = aws(&["s3", "ls", "--recursive", "s3://cli-bucket"]).await;
    assert!(
        listed.contains("x y/ä b/big+1") && listed.contains("x y/small"),
        "{listed}"
    );
    aws(&["s3", "sync", "s3://cli-bucket/x y/", &path("down")]).await;
    let down = fs::read(home.join("down/ä b/big+1")).unwrap();
    assert_eq!(sha256(&down), sha256(&bytes));
    let url = aws(&["s3", "presign", "s3://cli-bucket/x y/small"]).await;
    let target = url
        .trim()
        .split_once(&keybearer.proxy().to_string())
        .unwrap()
        .1;
    let got = keybearer.get(target).send().await;
    assert_eq!((got.status, &*got.text()), (200, "small"));
    let who = aws(&["sts", "get-caller-identity"]).await;
    assert!(who.contains(":user/app"), "{who}");
    // For SQS, version 1 heeds no endpoint but this one.
    let sqs = format!("http://{}/sqs", keybearer.proxy());
    let sqs = async |args: &[&str]| {
        let endpoint = ["--endpoint-url", &sqs, "sqs"];
        aws(&[&endpoint, args].concat()).await
    };
    sqs(&["create-queue", "--queue-name", "cli-queue"]).await;
    let queues = sqs(&["list-queues"]).await;
    assert!(queues.contains("cli-queue"), "{queues}");
    let tables = aws(&["dynamodb", "list-tables"]).await;
    assert!(tables.contains("TableNames"), "{tables}");
}

#[tokio::test]
async fn the_sdk_for_javascript() {
    let (_server, keybearer, home) = with_s3_server().await;
    let url = format!("http://{}/s3", keybearer.proxy());
    let job = json!({ "url": url, "region": REGION, "bucket": "bucket" });
    run(
        &mut node::script("aws", "s3_client.js", &job.to_string()),
        home.path(),
    )
    .await;
}

/// Names of files that are also names of objects, and that have to be escaped in more than one way.
fn odd_names() -> Vec<String> {
    let odd = [
        "plain", "a b", "a+b", "100%", "%20", "a:b", "a=b", "~a", "a&b", "a;b,c", "a'b\"c", "(a)",
        "[a]{b}", "a#b?c", "a@b$c!", "ä", "日本", "🗝", "a^b`c|", "<a>", "*", ".hidden", "a|b",
        "e\u{301}", "-a_b",
    ];
    let name = |n: usize| format!("{}/{} {n}", odd[n % odd.len()], odd[n / odd.len()]);
    (0..500).map(name).collect()
}

#[tokio::test]
async fn rclone_copies_and_checks_odd_names() {
    let (server, keybearer, home) = with_s3_server().await;
    let names = odd_names();
    for (n, name) in names.iter().enumerate() {
        let path = home.path().join("up").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("content {n}").repeat(n)).unwrap();
    }
    let up = home.path().join("up").display().to_string();
    let endpoint = format!("http://{}/s3", keybearer.proxy());
    let rclone = async |args: &[&str]| {
        let mut command = Command::new(node::program("rclone"));
        command.args(args).args([
            "--config",
            "/dev/null",
            "--s3-provider",
            "Other",
            "--s3-env-auth",
            "--retries",
            "1",
            "--low-level-retries",
            "1",
            "--s3-endpoint",
            &endpoint,
            "--s3-chunk-size",
            "5Mi",
        ]);
        run(&mut command, home.path()).await
    };
    fs::write(home.path().join("up/in parts"), vec![b'p'; 12 << 20]).unwrap();
    rclone(&[
        "copy",
        &up,
        ":s3:bucket/odd names",
        "--s3-upload-cutoff",
        "6Mi",
    ])
    .await;
    let checked = rclone(&["check", "--download", &up, ":s3:bucket/odd names"]).await;
    assert!(
        checked.stderr.contains("501 matching files"),
        "{}",
        checked.stderr
    );
    let listed = rclone(&["lsf", "--recursive", "--files-only", ":s3:bucket/odd names"]).await;
    let mut listed: Vec<_> = listed.stdout.lines().map(str::to_owned).collect();
    let mut wanted = names;
    wanted.push("in parts".to_owned());
    listed.sort();
    wanted.sort();
    assert_eq!(listed, wanted);
    assert!(server.file("bucket", "odd names/in parts").is_file());
}

#[tokio::test]
async fn restic_backs_up_by_host_and_by_a_prefix_that_is_a_bucket() {
    let (server, keybearer, home) = with_s3_server().await;
    let folder = home.path().join("data");
    fs::create_dir_all(&folder).unwrap();
    for n in 0..20 {
        let content: Vec<u8> = (0..100_000_u32).map(|m| (m * n + m / 255) as u8).collect();
        fs::write(folder.join(format!("file {n}")), content).unwrap();
    }
    let port = keybearer.proxy().port();
    for repository in [
        format!("s3:http://localhost:{port}/bucket/by-host"),
        format!("s3:http://127.0.0.1:{port}/one/by-prefix"),
    ] {
        let restic = async |args: &[&str]| {
            let mut command = Command::new(node::program("restic"));
            // minio-go takes "minio" for its own name of the region where it is not told.
            command.args([
                "--repo",
                &repository,
                "-o",
                "s3.region=eu-west-1",
                "-o",
                "s3.bucket-lookup=path",
            ]);
            run(command.args(args), home.path()).await.stdout
        };
        restic(&["init"]).await;
        restic(&["backup", folder.to_str().unwrap()]).await;
        restic(&["check", "--read-data"]).await;
        let into = home.path().join("restored");
        restic(&["restore", "latest", "--target", into.to_str().unwrap()]).await;
        let restored = into.join(folder.strip_prefix("/").unwrap());
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let again = fs::read(restored.join(entry.file_name())).unwrap();
            assert!(again == fs::read(entry.path()).unwrap(), "{entry:?}");
        }
        fs::remove_dir_all(into).unwrap();
    }
    for place in ["by-host/config", "by-prefix/config"] {
        assert!(server.file("bucket", place).is_file(), "{place}");
    }
}
